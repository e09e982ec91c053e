//! The chart is installed, used and removed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::operator::names_agent;
use super::super::stage::{By, Stage};

/// An agent names itself once it answers.
pub(super) const NAMED: Duration = Duration::from_secs(30);
pub(super) const EVERY_REGISTRY: &str = "_default";

pub(super) fn install(stage: &mut Stage) -> Result<Vec<String>> {
    stage.uninstall()?;
    let start = Instant::now();
    stage.have(&[])?;
    let time = start.elapsed().as_secs_f64();
    for node in 0..2 {
        let agent = stage.agent(node)?;
        agent.wait_until_named(EVERY_REGISTRY, NAMED)?;
        agent.check_with_doctor()?;
    }
    Ok(vec![format!("rolled out in {time:.1} s")])
}

pub(super) fn privileged(stage: &mut Stage) -> Result<Vec<String>> {
    mode(stage, "privileged", "ebpf")
}

pub(super) fn capabilities(stage: &mut Stage) -> Result<Vec<String>> {
    mode(stage, "capabilities", "ebpf")
}

pub(super) fn off(stage: &mut Stage) -> Result<Vec<String>> {
    mode(stage, "off", "tcp-info")
}

fn mode(stage: &mut Stage, mode: &str, counted_by: &str) -> Result<Vec<String>> {
    stage.have(&[&format!("agent.accounting={mode}")])?;
    for node in 0..2 {
        let agent = stage.agent(node)?;
        agent.wait_until_named(EVERY_REGISTRY, NAMED)?;
        let in_force = agent.status("/accounting/in_force")?;
        let why = agent.status("/accounting/detail")?;
        ensure!(in_force == counted_by, "counted by {in_force}: {why}");
    }
    Ok(vec![
        format!("counted by {counted_by}"),
        stage.check_sharing()?,
    ])
}

pub(super) fn pull(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&[])?;
    let pushed = stage.push_new()?;
    let first = stage.pull(0, &pushed, By::Tag)?;
    first.check_it_came_from_the_registry()?;
    stage.wait_until_shared(&pushed)?;
    let second = stage.pull(1, &pushed, By::Tag)?;
    second.check_only_the_tag_was_asked()?;
    let by_digest = stage.check_sharing()?;
    Ok(vec![
        format!("from the registry in {:.1} s", first.time.as_secs_f64()),
        format!("by tag from a peer in {:.1} s", second.time.as_secs_f64()),
        format!("by digest {by_digest}"),
    ])
}

/// As docs/uninstall.md has it for those who want to be sure of every node.
pub(super) fn uninstall_in_steps(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&[])?;
    stage.have(&["agent.hosts.mode=remove"])?;
    stage.check_files_are_as_before()?;
    stage.uninstall()?;
    stage.check_files_are_as_before()?;
    check_pulls_go_on(stage)
}

pub(super) fn uninstall(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&[])?;
    for node in 0..2 {
        stage.agent(node)?.wait_until_named(EVERY_REGISTRY, NAMED)?;
    }
    stage.uninstall()?;
    for node in &stage.cluster.nodes {
        ensure!(!names_agent(node, EVERY_REGISTRY), "a node names its agent");
    }
    stage.check_files_are_as_before()?;
    check_pulls_go_on(stage)
}

/// Both nodes pull as they did before there was a Piccolo.
fn check_pulls_go_on(stage: &mut Stage) -> Result<Vec<String>> {
    let pushed = stage.push_new()?;
    for node in 0..2 {
        let pulled = stage.pull(node, &pushed, By::Tag)?;
        pulled.check_it_came_from_the_registry()?;
    }
    Ok(vec!["files as before, to the byte".to_owned()])
}
