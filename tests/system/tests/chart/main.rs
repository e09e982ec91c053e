//! The chart's values mean to Helm what they mean to the programs: what the schema lets through does not
//! end on the nodes, and what the programs take is not refused.

mod programs;
mod render;
mod rules;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use system_tests::chart::{Schema, render};

/// Values that both take, some together.
fn good() -> Vec<Value> {
    vec![
        json!({}),
        json!({"agent": {
            "group": "eu-1/blue", "log": "warn,pi_agent::fetch=trace", "drainSeconds": 600,
            "servers": ["http://10.0.0.1:7789", "http://[fd00::1]:65535", "http://piccolo.corp/"],
            "hosts": {"registries": ["_default", "127.0.0.1:5000", "[fd00::1]:5000", "R-1.corp"]},
            "containerd": {"namespaces": ["k8s.io", "moby", "a"]},
            "allow": ["*.corp", "docker.io/library/redis", "r.corp:5000/*/x"],
            "deny": ["[fd00::1]:5000", "quay.io/"],
            "private": ["registry.corp/*", "docker.io/corp", "auto"],
            "extraArgs": ["--upload-slots=8", "--verify=always"],
            "extraEnv": [{"name": "PI_AGENT_UPLOAD_RATE", "value": "1000"}],
        }}),
        json!({"agent": {"tags": {
            "resolve": true,
            "registryURLs": {"docker.io": "https://mirror.corp:8443/base", "r:5000": "http://[::1]:5000"},
            "caBundle": "-----BEGIN CERTIFICATE-----\n",
        }}}),
        json!({"agent": {"hosts": {"mode": "remove"}, "accounting": "off", "log": "OFF"}}),
        json!({"server": {
            "nodeTimeout": "90s", "log": "piccolo_server=debug", "extraArgs": ["--bind-holder"],
            "topology": {"version": 1},
        }, "monitoring": {"enabled": true}}),
        json!({"server": {"nodeTimeout": "999999999999h"}}),
        json!({"nodeCidrs": ["10.0.0.0/8", "192.168.255.0/24", "fd00::/8", "::ffff:10.0.0.0/104"]}),
    ]
}

/// Values that neither takes.
fn bad() -> Vec<Value> {
    let agent = |value| json!({ "agent": value });
    let registries = |name: &str| agent(json!({"hosts": {"registries": [name]}}));
    let server = |url: &str| agent(json!({"servers": [url]}));
    let tags = |name: &str, url: &str| {
        agent(json!({"tags": {"resolve": true, "registryURLs": {name: url}}}))
    };
    vec![
        registries("https://docker.io"),
        registries("docker.io/library"),
        registries(".."),
        registries(""),
        agent(json!({"group": "a b"})),
        agent(json!({"group": "a=b"})),
        agent(json!({"group": ""})),
        agent(json!({"group": "x".repeat(65)})),
        agent(json!({"log": "infos"})),
        agent(json!({"log": "info,pi_agent"})),
        agent(json!({"log": ""})),
        server("ftp://10.0.0.1:7789"),
        server("10.0.0.1:7789"),
        server("http://10.0.0.1:70000"),
        server("http://"),
        agent(json!({"containerd": {"namespaces": ["k8s/io"]}})),
        agent(json!({"allow": ["https://docker.io"]})),
        agent(json!({"deny": ["docker.io/a b"]})),
        agent(json!({"private": ["https://docker.io"]})),
        tags("docker.io", "ftp://mirror"),
        tags("docker.io/library", "https://mirror"),
        tags("docker.io", "https://mirror:70000"),
        agent(json!({"drainSeconds": -1})),
        json!({"server": {"log": "loud"}}),
        json!({"nodeCidrs": ["10.0.0.0/33"]}),
        json!({"nodeCidrs": ["10.0.0.0"]}),
        json!({"nodeCidrs": ["10.0.0/8"]}),
        json!({"nodeCidrs": ["nodes"]}),
        json!({"server": {"nodeTimeout": "2"}}),
        json!({"server": {"nodeTimeout": "2d"}}),
        json!({"server": {"nodeTimeout": "99999999999999999999h"}}),
    ]
}

#[test]
fn what_helm_takes_the_programs_take_and_nothing_else() -> Result<()> {
    for values in good() {
        let rendered = render(&values, Schema::InForce)?;
        let manifest = rendered.map_err(|why| anyhow::anyhow!("{values} is refused: {why}"))?;
        programs::take(&manifest)?;
    }
    for values in bad() {
        ensure!(
            render(&values, Schema::InForce)?.is_err(),
            "{values} goes through, and ends on the nodes"
        );
        let Ok(manifest) = render(&values, Schema::Skipped)? else {
            continue;
        };
        ensure!(
            programs::take(&manifest).is_err(),
            "{values} is refused, and would have worked"
        );
    }
    Ok(())
}

#[test]
fn ports_that_meet_are_refused_by_both() -> Result<()> {
    for ports in [
        json!({"mirror": 7787}),
        json!({"peer": 7786}),
        json!({"admin": 288}),
    ] {
        let refused = render(&json!({"agent": {"ports": ports}}), Schema::InForce)?;
        ensure!(
            refused.is_err_and(|why| why.contains("a port of their own")),
            "{ports}"
        );
    }
    let listeners = |flags: &[&str]| {
        programs::run_flags(flags)?
            .check_ports()
            .map_err(Into::into)
    };
    listeners(&[])?;
    listeners(&["--mirror-listen=127.0.0.1:0", "--peer-listen=0.0.0.0:0"])?;
    listeners(&["--mirror-listen=127.0.0.1:1", "--admin-listen=127.0.0.2:1"])?;
    for flag in [
        "--mirror-listen=127.0.0.1:7787",
        "--peer-listen=127.0.0.1:7786",
        "--admin-listen=[::]:288",
    ] {
        let refused: Result<()> = listeners(&[flag]);
        ensure!(refused.is_err(), "{flag}");
    }
    Ok(())
}

/// What each agent may do besides nothing, and that nobody else may do anything.
#[test]
fn each_agent_may_take_its_port_and_no_other_container_may() -> Result<()> {
    for (accounting, port, wanted) in [
        ("off", 288, &["NET_BIND_SERVICE"][..]),
        ("off", 7788, &[]),
        (
            "capabilities",
            288,
            &["BPF", "NET_ADMIN", "NET_BIND_SERVICE"],
        ),
        ("capabilities", 7788, &["BPF", "NET_ADMIN"]),
        // All there are.
        ("privileged", 288, &[]),
    ] {
        let values = json!({"agent": {"accounting": accounting, "ports": {"mirror": port}}});
        let rendered = render(&values, Schema::InForce)?;
        let manifest = rendered.map_err(anyhow::Error::msg)?;
        render::each_container(&manifest, |_, container| {
            let is_agent = render::text(container, &["name"]) == Some("agent");
            let added = render::texts(container, &["securityContext", "capabilities", "add"]);
            let wanted = if is_agent { wanted } else { &[] };
            ensure!(added == wanted, "{accounting} at {port}: {added:?}");
            Ok(())
        })?;
        let url = format!("http://127.0.0.1:{port}");
        ensure!(manifest.contains(&url), "{accounting}: no {url}");
    }
    let usual = render(&json!({}), Schema::InForce)?.map_err(anyhow::Error::msg)?;
    ensure!(
        usual.contains("value: \"127.0.0.1:288\""),
        "the port by default"
    );
    Ok(())
}

#[test]
fn every_container_says_why_it_ended_and_none_has_its_cache_cut() -> Result<()> {
    for values in good() {
        let rendered = render(&values, Schema::InForce)?;
        let manifest = rendered.map_err(anyhow::Error::msg)?;
        render::each_container(&manifest, |kind, container| {
            let policy = render::text(container, &["terminationMessagePolicy"]);
            ensure!(policy == Some("FallbackToLogsOnError"), "{container:?}");
            ensure!(
                render::text(container, &["resources", "requests", "memory"]).is_some(),
                "{container:?}"
            );
            let limit = render::text(container, &["resources", "limits", "memory"]);
            ensure!(kind != "DaemonSet" || limit.is_none(), "{limit:?}");
            Ok(())
        })?;
    }
    Ok(())
}
