//! Full maps, addresses that come back, and very many connections.

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, Link};

/// The server, as a peer of all its clients.
const SERVER: u64 = 1;

#[test]
fn a_full_map_leaves_out_new_peers_only() -> Result<()> {
    let lab = Lab::build(Link::Unshaped)?;
    let outcome = lab.traffic_alone("--capacity=64 many --peers=200 --connections=2")?;
    assert_eq!(outcome.truth.reported, 64);
    // The first that was seen; most of its connections come when the map is full.
    ensure!(outcome.truth.server.is_some(), "the server was left out");
    assert_eq!(
        outcome.truth.wrong, 0,
        "some of the peers were counted wrongly"
    );
    assert!(outcome.failures["peers_full"] > 0, "{:?}", outcome.failures);
    Ok(())
}

#[test]
fn an_address_that_comes_back_counts_on() -> Result<()> {
    let lab = Lab::build(Link::Unshaped)?;
    let outcome = lab.traffic_alone("--idle=200 many --peers=50 --connections=3 --rounds=3")?;
    assert_eq!(outcome.truth.reported, outcome.truth.peers + SERVER);
    assert_eq!(
        outcome.truth.wrong, 0,
        "some of the peers were counted wrongly"
    );
    assert_eq!(
        outcome.failures.values().sum::<u64>(),
        0,
        "{:?}",
        outcome.failures
    );
    Ok(())
}

#[test]
fn ten_thousand_short_connections_leave_memory_flat() -> Result<()> {
    let lab = Lab::build(Link::Unshaped)?;
    let outcome = lab.traffic_alone("--idle=200 many --peers=100 --connections=20 --rounds=5")?;
    assert_eq!(
        outcome.truth.wrong, 0,
        "some of the peers were counted wrongly"
    );
    assert_eq!(
        outcome.failures.values().sum::<u64>(),
        0,
        "{:?}",
        outcome.failures
    );
    let memory = &outcome.truth.memory_kib;
    let (first, last) = (
        memory.first().context("no round")?,
        memory.last().context("no round")?,
    );
    ensure!(
        last.saturating_sub(*first) < 1024,
        "resident memory grew: {memory:?} KiB"
    );
    Ok(())
}
