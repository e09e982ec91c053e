//! Validates what agents report about their peers.
//!
//! An agent may be broken, old, or not an agent at all. Impossible entries are dropped before
//! anything is learned from them; they never fail the call.

use std::{collections::HashSet, net::IpAddr};

use daemon::metric::Metric;
use metrics::counter;
use piccolo_api::{Failure, Flow, Holder, Observation};
use tracing::debug;

const OBSERVATIONS: &str = "piccolo_server_observations_total";
const FAILURES: &str = "piccolo_server_reported_failures_total";

const OUTCOME: (&str, &str) = (
    "outcome",
    "`taken`, or why it cannot be: `own_address`, `no_address`, `twice`, `too_many`, `empty`, \
     `stale`, `future`, `too_fast`, `contradiction`",
);

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[
    Metric::counter(
        OBSERVATIONS,
        &[OUTCOME],
        "What agents reported of their traffic with a peer.",
    ),
    Metric::counter(FAILURES, &[OUTCOME], "Failing peers that agents reported."),
];

/// Most entries of each list in one report.
const MAX_ENTRIES: usize = 1024;
/// Bytes per second: 800 Gbit/s, more than any host's links carry.
const FASTEST: u128 = 100_000_000_000;
/// The largest age of a report in milliseconds: a day.
const MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// Agents report a transfer's time once it has enough bytes to tell a rate, or when a stall of
/// seconds has ended; up to this much of it may lie before the interval.
const EARLIER_MS: u64 = 30_000;
/// Likewise bytes: up to this many may have passed before the interval.
const EARLIER_BYTES: u64 = 64 << 20;
/// Two minutes: a connection with such round trips would have been given up.
const MAX_RTT_US: u64 = 120_000_000;

/// The plausible part of one call's report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// What peers delivered, and were delivered; each peer once, by its canonical address.
    pub(crate) observations: Vec<Observation>,
    /// Which peers failed.
    pub(crate) failures: Vec<Failure>,
}

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The reporter's own address.
    OwnAddress,
    /// An address that no host can have.
    NoAddress,
    /// The peer has been reported already.
    Twice,
    /// More entries than a report has.
    TooMany,
    /// An interval of no length, or nothing in it.
    Empty,
    /// An interval that began too long ago.
    Stale,
    /// Transfers that took longer than the interval: they would have to end in the future.
    Future,
    /// More bytes than any link could have carried in the time.
    TooFast,
    /// Numbers that contradict one another.
    Contradiction,
}

/// Bytes of the observations accepted so far, which shared the reporter's links.
#[derive(Debug, Default)]
struct Carried {
    received: u128,
    sent: u128,
}

impl Report {
    /// Keeps the plausible part of `reporter`'s report.
    pub(crate) fn sift(
        reporter: Holder,
        observations: Vec<Observation>,
        failures: Vec<Failure>,
    ) -> Self {
        let mut doubts = Vec::new();
        let report = Self {
            observations: sift_observations(reporter.ip(), observations, &mut doubts),
            failures: sift_failures(reporter, failures),
        };
        if let (Some(first), left_out) = (doubts.first(), doubts.len()) {
            debug!(%reporter, left_out, first = first.name(), "observations that cannot be");
        }
        report
    }
}

impl Doubt {
    /// As a label.
    const fn name(self) -> &'static str {
        match self {
            Self::OwnAddress => "own_address",
            Self::NoAddress => "no_address",
            Self::Twice => "twice",
            Self::TooMany => "too_many",
            Self::Empty => "empty",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::TooFast => "too_fast",
            Self::Contradiction => "contradiction",
        }
    }
}

fn sift_observations(
    reporter: IpAddr,
    observations: Vec<Observation>,
    doubts: &mut Vec<Doubt>,
) -> Vec<Observation> {
    let mut peers = HashSet::new();
    let mut carried = Carried::default();
    let mut believed = Vec::new();
    for mut observation in observations {
        observation.peer = observation.peer.to_canonical();
        let peer = observation.peer;
        let verdict = if believed.len() == MAX_ENTRIES {
            Err(Doubt::TooMany)
        } else if peers.contains(&peer) {
            Err(Doubt::Twice)
        } else {
            judge_peer(reporter, peer)
                .and_then(|()| judge(&observation))
                .and_then(|()| carried.take(&observation))
        };
        let outcome = verdict.map_or_else(Doubt::name, |()| "taken");
        counter!(OBSERVATIONS, "outcome" => outcome).increment(1);
        match verdict {
            Ok(()) => {
                peers.insert(peer);
                believed.push(observation);
            }
            Err(doubt) => doubts.push(doubt),
        }
    }
    believed
}

fn sift_failures(reporter: Holder, failures: Vec<Failure>) -> Vec<Failure> {
    let mut believed = Vec::new();
    for failure in failures {
        let verdict = if believed.len() == MAX_ENTRIES {
            Err(Doubt::TooMany)
        } else if failure.peer == reporter {
            Err(Doubt::OwnAddress)
        } else if failure.count == 0 {
            Err(Doubt::Empty)
        } else {
            Ok(())
        };
        let outcome = verdict.map_or_else(Doubt::name, |()| "taken");
        counter!(FAILURES, "outcome" => outcome).increment(1);
        if verdict.is_ok() {
            believed.push(failure);
        }
    }
    believed
}

fn judge_peer(reporter: IpAddr, peer: IpAddr) -> Result<(), Doubt> {
    if peer == reporter {
        return Err(Doubt::OwnAddress);
    }
    if peer.is_unspecified() || peer.is_loopback() || peer.is_multicast() {
        return Err(Doubt::NoAddress);
    }
    Ok(())
}

fn judge(observation: &Observation) -> Result<(), Doubt> {
    let Observation {
        interval_ms,
        received,
        sent,
        rtt_us,
        ..
    } = *observation;
    if interval_ms == 0 || received.bytes == 0 && sent.bytes == 0 {
        return Err(Doubt::Empty);
    }
    if interval_ms > MAX_MS {
        return Err(Doubt::Stale);
    }
    for flow in [received, sent] {
        judge_flow(flow, interval_ms)?;
    }
    if rtt_us.is_some_and(|rtt| rtt > MAX_RTT_US) {
        return Err(Doubt::Contradiction);
    }
    Ok(())
}

fn judge_flow(flow: Flow, interval_ms: u64) -> Result<(), Doubt> {
    let Flow {
        bytes,
        rated_bytes,
        busy_us,
    } = flow;
    if busy_us / 1000 > interval_ms + EARLIER_MS {
        return Err(Doubt::Future);
    }
    if rated_bytes > bytes.saturating_add(EARLIER_BYTES) || rated_bytes == 0 && busy_us > 0 {
        return Err(Doubt::Contradiction);
    }
    let too_many = u128::from(busy_us) * FASTEST / 1_000_000;
    if u128::from(rated_bytes) > too_many {
        return Err(Doubt::TooFast);
    }
    Ok(())
}

impl Carried {
    /// Adds an interval's bytes, unless the reporter's links cannot have carried them.
    fn take(&mut self, observation: &Observation) -> Result<(), Doubt> {
        let ms = observation.interval_ms.saturating_add(EARLIER_MS);
        let most = u128::from(ms) * FASTEST / 1000;
        let received = self.received + u128::from(observation.received.bytes);
        let sent = self.sent + u128::from(observation.sent.bytes);
        if received > most || sent > most {
            return Err(Doubt::TooFast);
        }
        *self = Self { received, sent };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
