//! Rates are what the application sees: within 1 % for what is received, 5 % for what is sent.

use anyhow::{Context, Result, ensure};

use crate::{
    bytes,
    lab::{Family, Lab, Link, Outcome},
};

const RECEIVED: f64 = 0.01;
const SENT: f64 = 0.05;
/// The times that the application and the kernel read differ by the scheduling of two busy cores.
const TRIES: usize = 3;

/// Bytes have to be exact each time; only the rate may be measured again.
fn check(link: Link, family: Family, arguments: &str) -> Result<()> {
    let lab = Lab::build(link)?;
    let mut result = Ok(());
    for _ in 0..TRIES {
        let outcome = lab.traffic("transfer", family, arguments)?;
        bytes::exact(&outcome, &lab, family)?;
        result = rates(&outcome, &lab, family);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn rates(outcome: &Outcome, lab: &Lab, family: Family) -> Result<()> {
    let (server, client) = lab.addresses(family)?;
    let answered = u32::try_from(outcome.truth.answered)?;
    let truth = f64::from(answered) / outcome.truth.busy_seconds;
    let server = outcome.peer(server)?;
    ensure!(server.rtt_us.is_some(), "no round-trip time");
    for (what, measured, within) in [
        ("received", server.received.throughput, RECEIVED),
        ("sent", outcome.peer(client)?.sent.throughput, SENT),
    ] {
        let measured = measured.with_context(|| format!("no rate of what was {what}"))?;
        let error = measured / truth - 1.0;
        ensure!(
            error.abs() <= within,
            "{what}: {measured:.0} B/s instead of {truth:.0} B/s, {:+.2} %",
            error * 100.0
        );
    }
    Ok(())
}

/// Bytes are exact, and more than `least` segments had to be sent again.
fn loses(link: Link, arguments: &str, least: u64) -> Result<()> {
    let lab = Lab::build(link)?;
    let outcome = lab.traffic("transfer", Family::V4, arguments)?;
    bytes::exact(&outcome, &lab, Family::V4)?;
    let (_, client) = lab.addresses(Family::V4)?;
    assert!(
        outcome.peer(client)?.retransmits > least,
        "too little was lost to test anything"
    );
    Ok(())
}

const ONE: &str = "--bytes=15000000";
/// Long enough to be promised.
const LONG: &str = "--bytes=40000000";
const KEEP_ALIVE: &str = "--bytes=3000000 --rounds=4 --idle=700";
const PARALLEL: &str = "--bytes=1500000 --rounds=3 --idle=300 --connections=4";

#[test]
fn an_unshaped_link() -> Result<()> {
    check(Link::Unshaped, Family::V4, "--bytes=1000000000")
}

#[test]
fn an_unshaped_link_with_ipv6() -> Result<()> {
    check(Link::Unshaped, Family::V6, "--bytes=1000000000")
}

#[test]
fn a_token_bucket() -> Result<()> {
    check(Link::Tbf, Family::V4, ONE)
}

#[test]
fn a_token_bucket_with_ipv6() -> Result<()> {
    check(Link::Tbf, Family::V6, ONE)
}

#[test]
fn a_hierarchical_token_bucket() -> Result<()> {
    check(Link::Htb, Family::V4, ONE)
}

#[test]
fn a_hierarchical_token_bucket_with_ipv6() -> Result<()> {
    check(Link::Htb, Family::V6, ONE)
}

#[test]
fn a_connection_that_is_kept_with_idle_gaps() -> Result<()> {
    check(Link::Tbf, Family::V4, KEEP_ALIVE)?;
    check(Link::Htb, Family::V6, KEEP_ALIVE)
}

#[test]
fn promised_answers_with_idle_gaps() -> Result<()> {
    let long = "--bytes=150000000 --rounds=4 --idle=300";
    check(Link::Unshaped, Family::V4, long)?;
    check(Link::Unshaped, Family::V6, long)?;
    check(
        Link::Tbf,
        Family::V4,
        "--bytes=25000000 --rounds=2 --idle=700",
    )
}

#[test]
fn promised_answers_through_a_deep_queue() -> Result<()> {
    let short = "--bytes=12000000 --rounds=5 --idle=300";
    check(Link::Deep, Family::V4, short)?;
    check(Link::Deep, Family::V6, short)
}

#[test]
fn promised_answers_on_a_fast_link_that_loses() -> Result<()> {
    let long = "--bytes=60000000 --rounds=3 --idle=300";
    loses(Link::FastLossy, long, 10)?;
    check(Link::FastLossy, Family::V4, long)?;
    check(
        Link::FastLossy,
        Family::V4,
        "--bytes=20000000 --rounds=2 --idle=300 --connections=4",
    )
}

#[test]
fn a_promised_answer_takes_less_counting() -> Result<()> {
    let lab = Lab::build(Link::Unshaped)?;
    let runs = |arguments: &str| -> Result<u64> {
        let outcome = lab.traffic("--measure transfer", Family::V4, arguments)?;
        bytes::exact(&outcome, &lab, Family::V4)?;
        Ok(outcome.truth.program.context("not measured")?.runs)
    };
    let promised = runs("--bytes=800000000")?;
    let unannounced = runs("--bytes=800000000 --unannounced")?;
    ensure!(
        promised * 3 < unannounced * 2,
        "{promised} runs for a promised answer, {unannounced} for another"
    );
    Ok(())
}

#[test]
fn four_connections_at_once() -> Result<()> {
    check(Link::Tbf, Family::V4, PARALLEL)?;
    check(Link::Tbf, Family::V6, PARALLEL)?;
    check(Link::Htb, Family::V4, PARALLEL)?;
    check(
        Link::Unshaped,
        Family::V4,
        "--bytes=100000000 --rounds=2 --idle=100 --connections=4",
    )
}

#[test]
fn a_link_that_loses() -> Result<()> {
    loses(Link::Lossy, ONE, 100)?;
    check(Link::Lossy, Family::V4, LONG)?;
    check(Link::Lossy, Family::V6, ONE)?;
    check(Link::Lossy, Family::V4, PARALLEL)
}
