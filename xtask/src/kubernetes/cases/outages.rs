//! The server is away, or sees a node at another address; a node loses its power.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::wait_until;

use super::super::operator::names_agent;
use super::super::stage::{By, Stage};
use super::installing::{EVERY_REGISTRY, NAMED};

/// What a pull may take that nobody helps with.
const UNAIDED: Duration = Duration::from_secs(15);
/// An agent asks a server that was away again within ten seconds.
const BACK: Duration = Duration::from_mins(1);
const RETURNED: Duration = Duration::from_mins(3);

pub(super) fn server_away(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&[])?;
    let shared = stage.share_from_first()?;
    stage.scale_server(0)?;
    let outcome = without_server(stage, &shared);
    stage.scale_server(1)?;
    let time = outcome?;
    wait_until("the agents to see the server again", BACK, || {
        let answer = stage.agent(1)?.admin("/readyz")?;
        Ok((answer.status == 200).then_some(()))
    })?;
    Ok(vec![
        format!("pulls meanwhile took {:.1} s at most", time.as_secs_f64()),
        stage.check_sharing()?,
    ])
}

/// The server sees the agent of its own node at the address of the pods' bridge. That is no reason
/// to warn; where it is told to refuse such calls, the agent says so.
pub(super) fn bridge_address(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&[])?;
    stage.check_sharing()?;
    let log = stage.server_log()?;
    let warning = log.lines().find(|line| line.contains("\"WARN\""));
    ensure!(
        warning.is_none(),
        "the server warns: {}",
        warning.unwrap_or_default()
    );
    stage.have(&["server.extraArgs={--bind-holder}"])?;
    let said = wait_until("the doctor of the server's node to say why", BACK, || {
        let said = stage.agent(0)?.doctor();
        Ok(said.contains("--bind-holder").then_some(said))
    })?;
    ensure!(
        !said.contains(" checks: 0 bad"),
        "the doctor finds nothing bad: {said}"
    );
    stage.have(&[])?;
    Ok(vec![stage.check_sharing()?])
}

/// Images that a peer has and that none has are pulled alike.
fn without_server(stage: &mut Stage, shared: &super::super::stage::Pushed) -> Result<Duration> {
    let of_a_peer = stage.pull(1, shared, By::Digest)?;
    let pushed = stage.push_new()?;
    let of_nobody = stage.pull(1, &pushed, By::Tag)?;
    of_nobody.check_it_came_from_the_registry()?;
    let longest = of_a_peer.time.max(of_nobody.time);
    ensure!(longest < UNAIDED, "a pull took {longest:?}");
    Ok(longest)
}

pub(super) fn power_cut(stage: &mut Stage) -> Result<Vec<String>> {
    stage.have(&[])?;
    stage.agent(1)?.wait_until_named(EVERY_REGISTRY, NAMED)?;
    // The node that is cut off is the only one that has it.
    let pushed = stage.push_new()?;
    stage.pull(1, &pushed, By::Tag)?;
    stage.wait_until_shared(&pushed)?;
    stage.cluster.power_off(1)?;
    let outcome = stage.pull(0, &pushed, By::Tag);
    ensure!(
        names_agent(stage.node(1)?, EVERY_REGISTRY),
        "the node's files changed while it was off"
    );
    stage.cluster.power_on(1)?;
    let pulled = outcome?;
    pulled.check_it_came_from_the_registry()?;
    ensure!(pulled.time < UNAIDED, "a pull took {:?}", pulled.time);
    stage.cluster.wait_until_nodes_are_ready()?;
    wait_until("the node's agent to be back", RETURNED, || {
        Ok(stage.agent(1)?.is_ready().then_some(()))
    })?;
    stage.wait_until_rolled_out()?;
    stage.agent(1)?.wait_until_named(EVERY_REGISTRY, NAMED)?;
    Ok(vec![
        format!("its neighbour pulled in {:.1} s", pulled.time.as_secs_f64()),
        stage.check_sharing()?,
    ])
}
