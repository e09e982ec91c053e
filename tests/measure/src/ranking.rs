//! Ranking the holders of a key, as a find does.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use topology::{Bound, Candidate, Estimates, Query, Sample, Topology, rank};

use crate::{Dataset, dataset::PORT, numbers::float};

const NOW: Duration = Duration::from_hours(1);
const SHORTEST: Duration = Duration::from_millis(300);
const BEST: usize = 100;

/// How many holders, and whether a topology file tells their racks.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct RankingCase {
    /// Holders that are ranked.
    pub holders: u32,
    /// Whether a file declares the racks; without, they are told by their addresses.
    pub declared: bool,
}

/// What a ranking costs.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct RankingOutcome {
    /// Time of one ranking.
    pub microseconds: f64,
}

pub(crate) fn run(case: RankingCase) -> Result<RankingOutcome> {
    let topology = if case.declared {
        Topology::parse(&file(case.holders)).context("the bench's own topology file")?
    } else {
        Topology::default()
    };
    let requester = IpAddr::V4(Dataset::address(case.holders / 2));
    let candidate = |node: u32| {
        let ip = IpAddr::V4(Dataset::address(node));
        Candidate::new(SocketAddr::new(ip, PORT), node)
    };
    let holders: Vec<_> = (0..case.holders).map(candidate).collect();
    let estimates = observed(&topology, &holders, requester);
    let (mut seed, mut scratch, mut ranking) = (0, holders.clone(), Duration::ZERO);
    while ranking < SHORTEST {
        scratch.clone_from(&holders);
        // Another seed each time, as some finds probe and most do not.
        seed += 1;
        let query = Query {
            requester,
            key: b"a key of sixteen",
            seed,
            now: NOW,
            limit: BEST,
        };
        let start = Instant::now();
        black_box(rank(black_box(&mut scratch), &query, &topology, &estimates));
        ranking += start.elapsed();
    }
    Ok(RankingOutcome {
        microseconds: ranking.as_secs_f64() * 1e6 / float(seed),
    })
}

/// The racks of a number of holders, ten to a zone.
fn file(holders: u32) -> String {
    let rack = |rack: u32| {
        let [a, b, c, _] = Dataset::address(rack * Dataset::RACK).octets();
        format!("      - {{name: rack{rack}, cidrs: [{a}.{b}.{c}.0/24], uplink: 100Gbit}}\n")
    };
    let racks: Vec<_> = (0..holders.div_ceil(Dataset::RACK)).map(rack).collect();
    let zone = |(zone, racks): (usize, &[String])| {
        let racks = racks.concat();
        format!("  - name: zone{zone}\n    uplink: 400Gbit\n    children:\n{racks}")
    };
    let zones: Vec<_> = racks.chunks(10).enumerate().map(zone).collect();
    format!("defaults: {{host_link: 25Gbit}}\ntree:\n{}", zones.concat())
}

/// A measurement from each holder's rack.
fn observed(topology: &Topology, holders: &[Candidate], requester: IpAddr) -> Estimates {
    let sample = Sample {
        rated_bytes: 1 << 28,
        busy: Duration::from_secs(1),
        span: Duration::from_secs(1),
        bound: Bound::Network,
    };
    let to = topology.locate(requester);
    let mut estimates = Estimates::default();
    for holder in holders {
        let from = topology.locate(holder.holder.ip());
        estimates.observe(NOW, topology, from, to, &sample);
    }
    estimates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_telling_racks_are_measured() {
        for declared in [false, true] {
            let case = RankingCase {
                holders: 400,
                declared,
            };
            let outcome = run(case).expect("the file is sound");
            assert!(outcome.microseconds > 0.0);
        }
    }
}
