//! Nodes as distributions set them up: two directories of mirror files, layers that are discarded,
//! paths of their own.

mod asked;
mod discard;
mod elsewhere;
mod private;
mod replaced;
mod roots;
mod socket;

use std::fs;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use testbed::{Bed, BedSetup, Node, Plan, Release, Run, binary};

/// A bed of one node whose containerd has not been started.
fn prepared(release: Release) -> Result<Bed> {
    let plan = Plan::unshaped(&[1]);
    Bed::prepare(Run::start()?, &BedSetup { plan, release })
}

/// Changes the settings of a node's containerd.
fn edit(node: &Node, change: impl FnOnce(String) -> String) -> Result<()> {
    let file = node.containerd.config_file();
    let text = fs::read_to_string(&file).context("reading containerd's settings")?;
    fs::write(&file, change(text)).context("writing containerd's settings")
}

/// Runs the agent's program on a node, with the paths of its containerd.
fn agent_says(node: &Node, command: &str, more: &[&str]) -> Result<Output> {
    let containerd = &node.containerd;
    Command::new("nsenter")
        .arg(format!("--net={}", node.host.netns.path().display()))
        .arg(binary("pi-agent")?)
        .arg(command)
        .env("PI_AGENT_CONTAINERD_SOCKET", containerd.socket())
        .env("PI_AGENT_CONTAINERD_CONFIG", containerd.config_file())
        .env("PI_AGENT_CONTENT_PATH", containerd.content())
        .env("PI_AGENT_HOSTS_DIR", containerd.hosts_directory())
        .args(more)
        .output()
        .context("running pi-agent")
}
