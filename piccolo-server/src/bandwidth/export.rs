//! The estimates as metrics.

use std::{collections::HashMap, time::Duration};

use daemon::metric::{Label, Metric};
use metrics::{Gauge, gauge};
use topology::{RackId, Topology};

use super::{Bandwidth, Census};

const PAIR: &[Label] = &[
    (
        "from",
        "the rack that sends; the pairs are the first 256 that became known",
    ),
    ("to", "the rack that receives"),
];

pub(super) const ESTIMATE: Metric = Metric::gauge(
    "piccolo_server_bandwidth_estimate_bits_per_second",
    PAIR,
    "What one transfer between two racks would reach with the path to itself, as the ranking takes it.",
);
pub(super) const OBSERVED: Metric = Metric::gauge(
    "piccolo_server_bandwidth_observed_bits_per_second",
    PAIR,
    "What transfers between two racks reached; NaN once it is forgotten.",
);
pub(super) const PAIRS: Metric = Metric::gauge(
    "piccolo_server_bandwidth_pairs",
    &[],
    "Ordered pairs of racks between which something was observed.",
);
pub(super) const UNKNOWN: Metric = Metric::gauge(
    "piccolo_server_unknown_addresses",
    &[],
    "Living nodes whose addresses the topology file does not mention.",
);

/// Pairs with metrics of their own; each costs Prometheus two series.
const MAX_PAIRS: usize = 256;

/// The series that there are.
#[derive(Default)]
pub(super) struct Export {
    pairs: HashMap<(RackId, RackId), [Gauge; 2]>,
}

impl Export {
    pub(super) fn update(
        &mut self,
        now: Duration,
        topology: &Topology,
        bandwidth: &Bandwidth,
        census: &Census,
    ) {
        gauge!(UNKNOWN.name).set(as_f64(census.unknown));
        let estimates = bandwidth.estimates();
        let pairs = estimates.pairs();
        gauge!(PAIRS.name).set(as_f64(pairs.len()));
        for pair @ (from, to) in pairs {
            if self.pairs.len() >= MAX_PAIRS {
                break;
            }
            let name = |rack| topology.rack_name(rack).into_owned();
            self.pairs.entry(pair).or_insert_with(|| {
                [ESTIMATE, OBSERVED]
                    .map(|metric| gauge!(metric.name, "from" => name(from), "to" => name(to)))
            });
        }
        #[expect(clippy::iter_over_hash_type, reason = "the order does not show")]
        for ((from, to), [value, observed]) in &self.pairs {
            let estimate = estimates.estimate(now, topology, *from, *to);
            value.set(estimate.value.bits_per_second());
            observed.set(
                estimate
                    .observed
                    .map_or(f64::NAN, topology::Rate::bits_per_second),
            );
        }
    }
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export")
            .field("pairs", &self.pairs.len())
            .finish()
    }
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
