//! Helm's own judgement of the chart, and that its schema refuses what cannot work.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::tools::{self, Outcome, Tools};

/// More lines of values would be a sign that the chart exposes its templates, not its choices.
const MOST_LINES: usize = 150;

/// Sets of values that have to lint.
pub(super) const GOOD: [&[&str]; 11] = [
    &[],
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
        "priorityClass.create=false",
        "priorityClass.name=system-node-critical",
    ],
];

/// Values that have to be refused, and a word of the reason.
const BAD: [(&[&str], &str); 8] = [
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
];

/// Checks the chart.
pub(super) fn check(tools: &Tools, root: &Path) -> Result<()> {
    let chart = root.join("deploy/chart");
    let values = std::fs::read_to_string(chart.join("values.yaml")).context("values.yaml")?;
    let lines = values.lines().count();
    ensure!(
        lines < MOST_LINES,
        "values.yaml has {lines} lines; {MOST_LINES} are too many"
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
        let Outcome { ok, stderr, .. } = tools::outcome(&mut helm)?;
        ensure!(!ok, "{values:?} is rendered, and should be refused");
        ensure!(
            stderr.contains(reason),
            "{values:?} is refused without {reason:?}: {stderr}"
        );
    }
    Ok(())
}
