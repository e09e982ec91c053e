//! Helm's own judgement of the chart, and that its schema refuses what cannot work.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::tools::{self, ToolOutput, Tools};

/// More lines of values would be a sign that the chart exposes its templates, not its choices.
const MAX_LINES: usize = 165;

/// Sets of values that have to lint.
pub(super) const GOOD: [&[&str]; 17] = [
    &[],
    &["agent.containerd.distribution=k3s"],
    &["agent.containerd.distribution=eks"],
    &[
        "agent.containerd.distribution=bottlerocket",
        "agent.hosts.mode=off",
    ],
    &[
        "agent.accounting=capabilities",
        "agent.capabilities={BPF,NET_ADMIN,SYS_RESOURCE}",
    ],
    &["agent.accounting=off"],
    &[
        "agent.tags.resolve=true",
        "agent.tags.caBundle=-----BEGIN CERTIFICATE-----",
        "agent.deny={registry.corp/private/*,*.internal}",
        "agent.allow={registry.corp}",
        "agent.private={registry.corp/team/*}",
        "agent.extraEnv[0].name=TZ",
        "agent.extraEnv[0].value=UTC",
        "agent.extraVolumes[0].name=extra",
        "agent.extraVolumes[0].secret.secretName=mine",
        "agent.extraVolumeMounts[0].name=extra",
        "agent.extraVolumeMounts[0].mountPath=/extra",
        "server.extraEnv[0].name=SSL_CERT_FILE",
        "server.extraEnv[0].value=/extra/ca.crt",
        "server.extraVolumes[0].name=extra",
        "server.extraVolumes[0].configMap.name=mine",
        "server.extraVolumeMounts[0].name=extra",
        "server.extraVolumeMounts[0].mountPath=/extra",
        "agent.resources.limits.memory=1Gi",
    ],
    &["agent.hosts.mode=off"],
    &["agent.hosts.mode=remove"],
    &[
        "agent.tags.resolve=true",
        "agent.tags.registryURLs.registry\\.corp=https://10.0.0.1:5000",
    ],
    &[
        "server.replicas=3",
        "server.database.secret=db",
        "networkPolicy.enabled=true",
    ],
    &["monitoring.enabled=true", "server.topology.version=1"],
    &[
        "server.enabled=false",
        "agent.servers={http://a:7789,http://b:7789}",
    ],
    &[
        "agent.enabled=false",
        "server.topologyConfigMap=mine",
        "networkPolicy.enabled=true",
        "networkPolicy.nodeCidrs={10.0.0.0/8}",
        "nodeCidrs={10.0.0.0/8,fd00::/8}",
        "priorityClass.create=false",
        "priorityClass.name=system-node-critical",
    ],
    &["tls.enabled=true"],
    &[
        "tls.enabled=true",
        "tls.mode=permissive",
        "tls.signer.replicas=2",
        "tls.signer.authoritySecret=mine",
        "tls.signer.extraArgs={--calls-per-address=1000}",
        "tls.serverFiles.secret.secretName=server-tls",
        "monitoring.enabled=true",
        "networkPolicy.enabled=true",
        "networkPolicy.nodeCidrs={10.0.0.0/8}",
        "nodeCidrs={10.0.0.0/8}",
    ],
    &[
        "tls.enabled=true",
        "tls.agentFiles.hostPath.path=/etc/piccolo/tls",
        "tls.serverFiles.csi.driver=csi.example.com",
        "monitoring.enabled=true",
        "monitoring.tokenSecret=operators",
        "agent.servers={https://a:7789}",
    ],
];

/// Values that have to be refused, and a word of the reason.
const BAD: [(&[&str], &str); 12] = [
    (&["agent.containerd.distribution=k4s"], "distribution"),
    (
        &["agent.containerd.distribution=bottlerocket"],
        "agent.hosts.mode=off",
    ),
    (&["agent.accounting=ebpf"], "accounting"),
    (&["agent.acounting=off"], "acounting"),
    (&["server.replicas=2"], "database.secret"),
    (&["server.enabled=false"], "agent.servers"),
    (&["agent.ports.peer=70000"], "peer"),
    (
        &[
            "agent.tags.resolve=true",
            "agent.tags.registryURLs.docker\\.io=10.0.0.1:5000",
        ],
        "docker.io",
    ),
    (
        &["agent.tags.registryURLs.docker\\.io=https://10.0.0.1"],
        "agent.tags.resolve",
    ),
    (&["priorityClass.create=false"], "name"),
    (&["tls.enabled=true", "tls.mode=off"], "mode"),
    (
        &["tls.enabled=true", "monitoring.enabled=true"],
        "monitoring.tokenSecret",
    ),
];

/// Checks the chart.
pub(super) fn check(tools: &Tools, root: &Path) -> Result<()> {
    let chart = root.join("deploy/chart");
    let values = std::fs::read_to_string(chart.join("values.yaml")).context("values.yaml")?;
    let lines = values.lines().count();
    ensure!(
        lines < MAX_LINES,
        "values.yaml has {lines} lines; {MAX_LINES} are too many"
    );
    for values in GOOD {
        let mut helm = tools.helm();
        helm.args(["lint", "--strict", "--quiet"]).arg(&chart);
        helm.args(values.iter().flat_map(|value| ["--set", value]));
        tools::run(&mut helm)?;
    }
    for (values, reason) in BAD {
        let mut helm = tools.helm();
        helm.args(["template", "piccolo"]).arg(&chart);
        helm.args(values.iter().flat_map(|value| ["--set", value]));
        let ToolOutput { ok, stderr, .. } = tools::outcome(&mut helm)?;
        ensure!(!ok, "{values:?} is rendered, and should be refused");
        ensure!(
            stderr.contains(reason),
            "{values:?} is refused without {reason:?}: {stderr}"
        );
    }
    distributions(tools, &chart)
}

/// Renders the chart for each distribution of its table, and wants the table's paths in it; single paths
/// win over them.
fn distributions(tools: &Tools, chart: &Path) -> Result<()> {
    let table = std::fs::read(chart.join("files/distributions.json"))?;
    let table: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_slice(&table).context("distributions.json")?;
    let paths = [
        (
            "socket",
            "agent.containerd.socket",
            "PI_AGENT_CONTAINERD_SOCKET",
        ),
        (
            "content",
            "agent.containerd.content",
            "PI_AGENT_CONTENT_PATH",
        ),
        ("hosts", "agent.hosts.directory", "PI_AGENT_HOSTS_DIR"),
        (
            "config",
            "agent.containerd.config",
            "PI_AGENT_CONTAINERD_CONFIG",
        ),
    ];
    for (name, distribution) in &table {
        // Not every one lets a pod write.
        let usual = [
            format!("agent.containerd.distribution={name}"),
            "agent.hosts.mode=off".to_owned(),
        ];
        let rendered = render(tools, chart, &usual)?;
        for (key, value, variable) in paths {
            let path = distribution.get(key).and_then(Value::as_str);
            let path = path.with_context(|| format!("{name} has no {key}"))?;
            let line = format!("{{name: {variable}, value: {path:?}}}");
            ensure!(rendered.contains(&line), "{name}: no {line}");
            let single = render(
                tools,
                chart,
                &[&usual[..], &[format!("{value}=/own/p")]].concat(),
            )?;
            let line = format!("{{name: {variable}, value: \"/own/p\"}}");
            ensure!(single.contains(&line), "{name}, {value}: no {line}");
        }
        let more = distribution.get("moreHosts").and_then(Value::as_array);
        for path in more.into_iter().flatten().filter_map(Value::as_str) {
            let mount = format!("mountPath: {path}, readOnly: true");
            ensure!(rendered.contains(&mount), "{name}: no {mount}");
        }
    }
    Ok(())
}

fn render(tools: &Tools, chart: &Path, values: &[String]) -> Result<String> {
    let mut helm = tools.helm();
    helm.args(["template", "piccolo"]).arg(chart);
    helm.args(values.iter().flat_map(|value| ["--set", value]));
    let ToolOutput { ok, stdout, stderr } = tools::outcome(&mut helm)?;
    ensure!(ok, "{values:?}: {stderr}");
    Ok(stdout)
}
