//! Bytes are exact whichever way a connection ends.

use anyhow::{Result, ensure};

use crate::lab::{Family, Lab, Link, Outcome};

const CONNECTIONS: u64 = 100;

/// Both ends saw exactly what was sent.
pub(crate) fn exact(outcome: &Outcome, lab: &Lab, family: Family) -> Result<()> {
    let (server, client) = lab.addresses(family)?;
    let (server, client) = (outcome.peer(server)?, outcome.peer(client)?);
    let truth = &outcome.truth;
    let counted = [
        server.sent.bytes,
        server.received.bytes,
        client.received.bytes,
        client.sent.bytes,
        server.opened,
        server.closed,
        client.opened,
        client.closed,
    ];
    let (n, requested, answered) = (truth.connections, truth.requested, truth.answered);
    let expected = [requested, answered, requested, answered, n, n, n, n];
    ensure!(
        counted == expected,
        "counted {counted:?} instead of {expected:?} (client: request, answer; server: request, \
         answer; opened, closed, twice)"
    );
    let failures: u64 = outcome.failures.values().sum();
    ensure!(failures == 0, "failures: {:?}", outcome.failures);
    ensure!(outcome.peers.len() == 2, "peers: {:?}", outcome.peers);
    Ok(())
}

fn check(link: Link, families: &[Family], how: &str) -> Result<()> {
    check_each_of(CONNECTIONS, link, families, how)
}

fn check_each_of(connections: u64, link: Link, families: &[Family], how: &str) -> Result<()> {
    let lab = Lab::build(link)?;
    for &family in families {
        let arguments = format!("--how={how} --connections={connections}");
        let outcome = lab.traffic("ends", family, &arguments)?;
        assert_eq!(outcome.truth.connections, connections);
        exact(&outcome, &lab, family)?;
    }
    Ok(())
}

const BOTH: [Family; 2] = [Family::V4, Family::V6];

#[test]
fn the_server_closes_right_after_its_answer() -> Result<()> {
    check(Link::Unshaped, &BOTH, "server")
}

#[test]
fn the_client_closes_after_the_answer() -> Result<()> {
    check(Link::Unshaped, &BOTH, "client")
}

#[test]
fn the_client_half_closes_after_its_request() -> Result<()> {
    check(Link::Unshaped, &BOTH, "half-close")
}

#[test]
fn both_close_at_once() -> Result<()> {
    // An interface that goes down loses its IPv6 addresses.
    check(Link::Unshaped, &[Family::V4], "simultaneous")
}

#[test]
fn the_client_resets() -> Result<()> {
    check(Link::Unshaped, &BOTH, "reset")
}

#[test]
fn the_clients_process_is_killed() -> Result<()> {
    check(Link::Unshaped, &BOTH, "kill")
}

#[test]
fn the_clients_process_is_killed_with_unread_answers() -> Result<()> {
    // As much as a socket takes that nobody reads from.
    check(Link::Unshaped, &BOTH, "kill-unread --answer=20000")
}

#[test]
fn user_space_counts_the_same() -> Result<()> {
    let lab = Lab::build(Link::Lossy)?;
    for family in BOTH {
        let arguments = "--accounting=tcp-info --bytes=1500000 --rounds=2 --connections=4";
        let outcome = lab.traffic("transfer", family, arguments)?;
        assert_eq!(outcome.mode.in_force, "tcp-info", "{:?}", outcome.mode);
        exact(&outcome, &lab, family)?;
    }
    Ok(())
}

#[test]
fn data_and_fin_share_a_segment() -> Result<()> {
    check(Link::Unshaped, &BOTH, "tiny")
}

#[test]
fn fins_are_lost_and_refused_by_a_short_queue() -> Result<()> {
    check(Link::Lossy, &[Family::V4], "server")?;
    check(Link::Lossy, &[Family::V4], "half-close")
}

#[test]
fn promised_answers_end_early_in_every_way() -> Result<()> {
    for how in ["server", "client", "half-close", "reset", "kill"] {
        let how = format!("{how} --answer=30000000 --promised=60000000");
        check_each_of(5, Link::Unshaped, &BOTH, &how)?;
    }
    let kept = "server --answer=30000000 --promised=30000000";
    check_each_of(5, Link::FastLossy, &[Family::V4], kept)
}
