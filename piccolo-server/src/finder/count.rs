//! Counts what finds answered.

use daemon::metric::Metric;
use metrics::{Counter, Histogram, counter, histogram};
use topology::{Candidate, RackId, Topology};

pub(super) const FIRST: Metric = Metric::counter(
    "piccolo_server_find_first_total",
    &[(
        "tier",
        "`same_rack`, `near` (the racks have a place of the tree in common), `far`, or `nobody` \
         (none was found)",
    )],
    "Keys looked up, by where the holder in the first place stands.",
);

pub(super) const PEERS: Metric = Metric::counter(
    "piccolo_server_find_peers_total",
    &[("rack", "`own` or `other`")],
    "Holders that finds answered, by whether they stand in the requester's rack.",
);

pub(super) const HOLDERS: Metric = Metric::histogram(
    "piccolo_server_find_holders",
    &[],
    "Holders that one find answered.",
);

pub(super) const PROBES: Metric = Metric::counter(
    "piccolo_server_find_probes_total",
    &[],
    "Finds that put a holder first so that its slow path is measured again.",
);

/// Handles of the counters.
pub(super) struct Counts {
    same_rack: Counter,
    near: Counter,
    far: Counter,
    nobody: Counter,
    own: Counter,
    other: Counter,
    probes: Counter,
    holders: Histogram,
}

impl Counts {
    pub(super) fn new() -> Self {
        let first = |tier: &'static str| counter!(FIRST.name, "tier" => tier);
        let peers = |rack: &'static str| counter!(PEERS.name, "rack" => rack);
        Self {
            same_rack: first("same_rack"),
            near: first("near"),
            far: first("far"),
            nobody: first("nobody"),
            own: peers("own"),
            other: peers("other"),
            probes: counter!(PROBES.name),
            holders: histogram!(HOLDERS.name),
        }
    }

    /// Counts one find.
    pub(super) fn count(&self, topology: &Topology, requester: RackId, answer: &[Candidate]) {
        let holders = u32::try_from(answer.len()).unwrap_or(u32::MAX);
        self.holders.record(f64::from(holders));
        let Some(first) = answer.first() else {
            self.nobody.increment(1);
            return;
        };
        if first.is_remote() {
            let near = topology.path(first.rack(), requester).closeness > 0.0;
            if near { &self.near } else { &self.far }.increment(1);
        } else {
            self.same_rack.increment(1);
        }
        if first.is_probe() {
            self.probes.increment(1);
        }
        let other = answer.iter().filter(|peer| peer.is_remote()).count();
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        self.own.increment(number(answer.len() - other));
        self.other.increment(number(other));
    }
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counts").finish_non_exhaustive()
    }
}
