//! A containerd that discards layers after unpacking: its node has nothing for its peers, and says so.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pi_agent::status::Status;
use system_tests::{APP, node, on_each_release, pull, push_app};
use testbed::{Agent, Release, wait_until};

use super::{agent_says, edit, prepared};

on_each_release!(a_node_that_discards_its_layers_says_so,);

const CONTAINERD: &str = "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n";
/// containerd 2.x takes over the rest of that table only with runtimes in it.
const RUNTIMES: &str = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n\
                        runtime_type = \"io.containerd.runc.v2\"\n";
const COLLECTED: Duration = Duration::from_secs(30);

fn a_node_that_discards_its_layers_says_so(release: Release) -> Result<()> {
    let mut bed = prepared(release)?;
    edit(node(&bed, 0)?, |text| {
        let discards = format!("{CONTAINERD}discard_unpacked_layers = true\n");
        format!("{}\n{RUNTIMES}", text.replace(CONTAINERD, &discards))
    })?;
    bed.nodes
        .first_mut()
        .context("no node")?
        .containerd
        .start()?;
    bed.start_server(&[])?;
    bed.start_agents(&[])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    push_app(&bed)?;
    let node = node(&bed, 0)?;
    // As soon as the agent is entered, and before there is an image.
    let said = agent_says(node, "configure", &["--registry=registry.test"])?;
    let told = String::from_utf8_lossy(&said.stdout).into_owned();
    ensure!(told.contains("discards layers after unpacking"), "{told}");
    doctor_says(node, "discard them after unpacking")?;

    pull(node, APP)?;
    let agent = node.agent.as_ref().context("the node has no agent")?;
    wait_until("the layers to be gone", COLLECTED, || {
        let status: Status = serde_json::from_slice(&agent.admin("/status")?.body)?;
        Ok(status.content.layers_discarded.then_some(()))
    })?;
    let metrics = agent.admin("/metrics")?.text();
    ensure!(
        metrics.contains("piccolo_agent_images_without_layers 1"),
        "{metrics}"
    );
    let log = agent.process().log();
    ensure!(
        log.matches("keeps no layers of its images").count() == 1,
        "{log}"
    );
    doctor_says(node, "1 images have none here")
}

fn doctor_says(node: &testbed::Node, words: &str) -> Result<()> {
    let said = agent_says(node, "doctor", &["--server=http://127.0.0.1:1"])?;
    let doctor = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = doctor.lines().find(|line| line.contains(" layers: "));
    let line = line.with_context(|| format!("no layers in {doctor}"))?;
    ensure!(line.starts_with("warn") && line.contains(words), "{line}");
    Ok(())
}
