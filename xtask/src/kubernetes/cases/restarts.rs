//! Agents that are replaced, killed, or halted.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::operator;
use super::super::stage::{By, Pulled, Stage};
use super::installing::{EVERY_REGISTRY, NAMED};

/// What a pull may take that no agent helps with: the kubelet's turns, and the registry.
const UNAIDED: Duration = Duration::from_secs(15);
/// What a halted agent may hold its own node's pulls for: ten seconds (docs/troubleshooting.md),
/// and what a pull takes anyway.
const HELD: Duration = Duration::from_secs(20);
const RESTARTED: Duration = Duration::from_mins(3);

/// Agents of all nodes are replaced; pulls go on meanwhile.
pub(super) fn roll_out(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&[])?;
    stage.restart_agents()?;
    let mut longest = Duration::ZERO;
    for node in [0, 1, 0, 1] {
        let pushed = stage.push_new()?;
        longest = longest.max(stage.pull(node, &pushed, By::Tag)?.time);
    }
    ensure!(longest < UNAIDED, "a pull took {longest:?}");
    stage.wait_until_rolled_out()?;
    let shared = check_second_is_back(stage)?;
    Ok(vec![
        format!(
            "pulls meanwhile took {:.1} s at most",
            longest.as_secs_f64()
        ),
        shared,
    ])
}

pub(super) fn killed(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&[])?;
    let restarts = stage.agent(1)?.restarts();
    stage.agent(1)?.kill()?;
    let pulled = pull_on_second(stage)?;
    ensure!(pulled.time < UNAIDED, "a pull took {:?}", pulled.time);
    stage.wait_until_restarted(1, restarts, RESTARTED)?;
    let shared = check_second_is_back(stage)?;
    Ok(vec![
        format!("a pull meanwhile took {:.1} s", pulled.time.as_secs_f64()),
        shared,
    ])
}

/// The process exists and does not answer: liveness has to end it.
pub(super) fn frozen(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&[])?;
    let restarts = stage.agent(1)?.restarts();
    let pushed = stage.share_from_first()?;
    stage.agent(1)?.freeze()?;
    let pulled = stage.pull(1, &pushed, By::Digest)?;
    stage.wait_until_restarted(1, restarts, RESTARTED)?;
    let shared = check_second_is_back(stage)?;
    let seconds = pulled.time.as_secs_f64();
    ensure!(pulled.time < HELD, "a pull was held for {seconds:.1} s");
    Ok(vec![
        format!("held a pull of its node for {seconds:.1} s"),
        shared,
    ])
}

/// Another tool writes the mirror files as it knows them, as k3s does at each start.
pub(super) fn file_rewritten(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&[])?;
    let agent = stage.agent(1)?;
    agent.wait_until_named(EVERY_REGISTRY, NAMED)?;
    operator::write_files(stage.node(1)?)?;
    let start = Instant::now();
    agent.wait_until_named(EVERY_REGISTRY, NAMED)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(vec![
        format!("the agent is named again after {seconds:.1} s"),
        stage.check_sharing()?,
    ])
}

/// A pull of an image that the first node has.
fn pull_on_second(stage: &mut Stage) -> Result<Pulled> {
    let pushed = stage.push_new()?;
    stage.pull(0, &pushed, By::Tag)?;
    stage.pull(1, &pushed, By::Digest)
}

fn check_second_is_back(stage: &mut Stage) -> Result<String> {
    let agent = stage.agent(1)?;
    agent.wait_until_named(EVERY_REGISTRY, NAMED)?;
    agent.check_with_doctor()?;
    stage.check_sharing()
}
