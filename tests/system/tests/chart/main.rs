//! The chart's values mean to Helm what they mean to the programs: what the schema lets through does not
//! end on the nodes, and what the programs take is not refused.

mod programs;
mod render;
mod rules;

use anyhow::{Context as _, Result, ensure};
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
        json!({"tls": {"enabled": true}, "nodeCidrs": ["10.0.0.0/8"], "agent": {"group": "eu-1/blue"}}),
        json!({
            "tls": {"enabled": true, "mode": "permissive", "signer": {"authoritySecret": "mine"}},
            "monitoring": {"enabled": true, "tokenSecret": "operators"},
        }),
        json!({
            "tls": {
                "enabled": true,
                "agentFiles": {"hostPath": {"path": "/etc/piccolo/tls"}},
                "serverFiles": {"secret": {"secretName": "server-tls"}},
            },
            "agent": {"servers": ["https://piccolo.corp:7789"]},
        }),
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

/// Only the signer may ask Kubernetes anything, and it may not list, make or remove.
#[test]
fn only_the_signer_has_rights_and_few() -> Result<()> {
    let of = |values: Value| -> Result<String> {
        render(&values, Schema::InForce)?.map_err(anyhow::Error::msg)
    };
    let off = of(json!({}))?;
    ensure!(!off.contains("kind: Role") && !off.contains("kind: Secret") && !off.contains("_TLS"));
    let on = of(json!({"tls": {"enabled": true}}))?;
    for verbs in on.lines().filter_map(|line| line.split_once("verbs: ")) {
        let verbs = verbs.1.trim_end_matches('}');
        ensure!(
            ["[get]", "[create]", "[get, update]"].contains(&verbs),
            "{verbs}"
        );
    }
    let bound = on
        .matches("{kind: ServiceAccount, name: piccolo-signer,")
        .count();
    ensure!(bound == 2 && on.matches("kind: ServiceAccount, name").count() == 2);
    ensure!(on.matches("audience: piccolo,").count() == 2);
    // Nothing says what its data is, so that no upgrade takes it away.
    let secret = on.split("---").find(|part| part.contains("kind: Secret"));
    ensure!(
        secret.is_some_and(|secret| !secret.contains("\ndata") && !secret.contains("stringData"))
    );
    let own = of(json!({"tls": {"enabled": true, "signer": {"authoritySecret": "mine"}}}))?;
    ensure!(!own.contains("kind: Secret") && !own.contains("resources: [secrets]"));
    let files = of(json!({"tls": {
        "enabled": true,
        "agentFiles": {"hostPath": {"path": "/etc/piccolo/tls"}},
        "serverFiles": {"secret": {"secretName": "server-tls"}},
    }}))?;
    ensure!(!files.contains("signer") && !files.contains("_ISSUER"));
    Ok(())
}

/// Whom a permissive program no longer believes without TLS, it does not believe after a restart either.
#[test]
fn who_has_spoken_tls_is_remembered_over_a_restart_of_the_container() -> Result<()> {
    let files = json!({"secret": {"secretName": "tls"}});
    for (mode, files, wanted) in [
        ("permissive", json!({}), 2),
        ("permissive", files, 2),
        // Nobody is believed without.
        ("required", json!({}), 0),
    ] {
        let tls = json!({"enabled": true, "mode": mode, "agentFiles": files, "serverFiles": files});
        let rendered = render(&json!({ "tls": tls }), Schema::InForce)?;
        let mut remember = 0;
        render::each_container(&rendered.map_err(anyhow::Error::msg)?, |_, container| {
            let file = render::items(container, "env").find_map(|variable| {
                let name = render::text(variable, &["name"])?;
                name.ends_with("_TLS_SEEN")
                    .then(|| render::text(variable, &["value"]))?
            });
            let Some((directory, _)) = file.and_then(|file| file.rsplit_once('/')) else {
                return Ok(());
            };
            remember += 1;
            let mut mounts = render::items(container, "volumeMounts");
            let mount = mounts.find(|mount| render::text(mount, &["mountPath"]) == Some(directory));
            let mount = mount.with_context(|| format!("nothing at {directory}"))?;
            ensure!(
                render::at(mount, &["readOnly"]).is_none(),
                "it cannot write there"
            );
            Ok(())
        })?;
        ensure!(remember == wanted, "{mode}: {remember}");
    }
    Ok(())
}

/// What the signer believes of accounts, names and addresses is what the others have.
#[test]
fn the_signer_and_those_who_call_it_mean_the_same() -> Result<()> {
    let values = json!({"tls": {"enabled": true}, "agent": {"group": "blue"}});
    let manifest = render(&values, Schema::InForce)?.map_err(anyhow::Error::msg)?;
    let has = |text: &str| ensure_in(&manifest, text);
    has("--agents=blue=piccolo-system/piccolo-agent")?;
    has("--servers=piccolo-system/piccolo-server")?;
    has("serviceAccountName: piccolo-agent")?;
    has("serviceAccountName: piccolo-server")?;
    has("value: \"https://piccolo-signer.piccolo-system.svc:7791\"")?;
    has("--host=piccolo-signer.piccolo-system.svc,")?;
    has("http://piccolo-server.piccolo-system.svc:7789")?;
    has(",piccolo-server.piccolo-system.svc,")?;
    has("--config-map=piccolo-system/piccolo-authority-public")?;
    has("configMap: {name: piccolo-authority-public}")?;
    has("--secret=piccolo-system/piccolo-authority")
}

fn ensure_in(manifest: &str, text: &str) -> Result<()> {
    ensure!(manifest.contains(text), "no {text}");
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
