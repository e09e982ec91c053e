//! What an operator runs on a node: `configure`, `doctor`, `status`.

use std::fs;
use std::process::Output;

use anyhow::{Context, Result};
use pi_agent::status::Status;
use serde_json::Value;
use system_tests::{APP, bed, node, on_each_release, pull, push_app};
use testbed::{Bed, Node, Release, binary};

use super::{agent, wait_shared};

on_each_release!(configures_and_looks_after_a_node);

fn configures_and_looks_after_a_node(release: Release) -> Result<()> {
    let mut bed = bed(release, &[1])?;
    let image = push_app(&bed)?;
    bed.start_server(&[])?;
    bed.start_agents(&[])?;
    // An operator's own file, without the agent.
    bed.set_hosts(&[bed.registry.url()])?;
    let node = node(&bed, 0)?;
    let file = node
        .containerd
        .hosts_directory()
        .join("registry.test/hosts.toml");
    let before = fs::read(&file).context("reading the mirror file")?;

    let checks = doctor(&bed, node, 2)?;
    assert_eq!(verdict(&checks, "hosts.toml of registry.test"), "bad");
    configure(node, &[])?;
    pull(node, APP)?;
    wait_shared(&bed, &image.root.digest)?;
    let metrics = agent(node)?.admin("/metrics")?.text();
    let missed = r#"piccolo_agent_mirror_requests_total{kind="blob",outcome="miss"} 4"#;
    assert!(
        metrics.contains(missed),
        "containerd did not ask: {metrics}"
    );

    // Not every machine has what eBPF needs.
    let checks = doctor(&bed, node, 1)?;
    for name in [
        "agent",
        "readiness",
        "peer port",
        "containerd",
        "content store",
        "images",
        "followed",
        "config_path",
        "hosts.toml of registry.test",
        "mirror",
        "server",
        "clock",
        "announced",
        "swarm",
    ] {
        assert_eq!(verdict(&checks, name), "good", "{name}: {checks:#?}");
    }
    let decides = found(&checks, "swarm");
    assert!(decides.ends_with(" decides"), "{decides}");

    let said = run(node, &["status", "--json"])?;
    let status: Status = serde_json::from_slice(&said.stdout).context("parsing the status")?;
    assert_eq!(status.mirror.hit_ratio, Some(0.0), "nobody else has it");
    // The layers and the configuration, and the manifest that is asked for by its digest.
    let (missed, all) = (status.mirror.missed_bytes, image.bytes());
    assert!(missed >= all * 9 / 10, "{missed} of {all} bytes: {metrics}");
    let said = String::from_utf8(run(node, &["status"])?.stdout)?;
    assert!(said.contains("known to the server"), "{said}");

    configure(node, &["--remove"])?;
    assert_eq!(fs::read(&file)?, before, "restored to the byte");

    // An operator's choice is no fault.
    bed.server.take().context("no server")?.kill();
    bed.start_server(&["--swarm=off"])?;
    let checks = doctor(&bed, self::node(&bed, 0)?, 2)?;
    assert_eq!(verdict(&checks, "swarm"), "good", "{checks:#?}");
    let off = found(&checks, "swarm");
    assert!(off.contains("(--swarm off)"), "{off}");
    Ok(())
}

/// Runs the agent's program on a node.
fn run(node: &Node, arguments: &[&str]) -> Result<Output> {
    (node.host.netns.command(binary("pi-agent")?))
        .args(arguments)
        .output()
        .context("running pi-agent")
}

fn configure(node: &Node, more: &[&str]) -> Result<()> {
    let hosts = format!(
        "--hosts-dir={}",
        node.containerd.hosts_directory().display()
    );
    let config = format!(
        "--containerd-config={}",
        node.containerd.config_file().display()
    );
    let arguments = ["configure", &hosts, &config, "--registry=registry.test"];
    let said = run(node, &[&arguments[..], more].concat())?;
    anyhow::ensure!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    Ok(())
}

/// What the doctor finds; its exit code is not to be worse than `worst`.
fn doctor(bed: &Bed, node: &Node, worst: i32) -> Result<Vec<Value>> {
    let containerd = &node.containerd;
    let arguments = [
        "doctor".to_owned(),
        "--json".to_owned(),
        format!("--server={}", bed.server_url()),
        format!("--containerd-socket={}", containerd.socket().display()),
        format!("--content-path={}", containerd.content().display()),
        format!("--hosts-dir={}", containerd.hosts_directory().display()),
        format!("--containerd-config={}", containerd.config_file().display()),
    ];
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let said = run(node, &arguments)?;
    let text = String::from_utf8_lossy(&said.stdout);
    let code = said.status.code().context("the doctor was killed")?;
    anyhow::ensure!(code <= worst, "exit code {code}: {text}");
    serde_json::from_slice(&said.stdout).context("parsing the doctor's findings")
}

fn verdict<'a>(checks: &'a [Value], name: &str) -> &'a str {
    part(checks, name, "verdict")
}

fn found<'a>(checks: &'a [Value], name: &str) -> &'a str {
    part(checks, name, "found")
}

fn part<'a>(checks: &'a [Value], name: &str, part: &str) -> &'a str {
    let check = checks.iter().find(|check| check["name"] == name);
    check
        .and_then(|check| check[part].as_str())
        .unwrap_or("missing")
}
