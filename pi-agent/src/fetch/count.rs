//! What is counted of fetching.

use daemon::metric::Metric;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use piccolo_api::FailureKind;

use super::peers::health::Scope;

/// The metrics of this module.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "piccolo_agent_peer_failures_total",
        &[(
            "cause",
            "refused, unreachable, stalled, cut, missing, busy, wrong_bytes, protocol",
        )],
        "Peers that did not deliver, by what was the matter.",
    ),
    Metric::counter(
        "piccolo_agent_resumed_transfers_total",
        &[],
        "Transfers to containerd that another peer continued at the same byte.",
    ),
    Metric::counter(
        "piccolo_agent_hedges_total",
        &[("outcome", "won, lost")],
        "Requests made to a second peer because the first was slow, by who answered first.",
    ),
    Metric::counter(
        "piccolo_agent_quarantines_total",
        &[("scope", "object, peer")],
        "Peers that were put into quarantine after wrong bytes, for one object or for all.",
    ),
    Metric::gauge(
        "piccolo_agent_quarantined",
        &[],
        "Quarantines that have not ended yet.",
    ),
    Metric::histogram(
        "piccolo_agent_first_byte_seconds",
        &[],
        "From a request to a peer to the end of its reply's head.",
    ),
];

/// Handles of the counters.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) resumed: Counter,
    pub(super) hedges_won: Counter,
    pub(super) hedges_lost: Counter,
    quarantines_object: Counter,
    quarantines_peer: Counter,
    quarantined: Gauge,
    pub(super) first_byte: Histogram,
}

impl Counts {
    pub(super) fn new() -> Self {
        let hedges =
            |outcome: &'static str| counter!("piccolo_agent_hedges_total", "outcome" => outcome);
        let quarantines =
            |scope: &'static str| counter!("piccolo_agent_quarantines_total", "scope" => scope);
        Self {
            resumed: counter!("piccolo_agent_resumed_transfers_total"),
            hedges_won: hedges("won"),
            hedges_lost: hedges("lost"),
            quarantines_object: quarantines("object"),
            quarantines_peer: quarantines("peer"),
            quarantined: gauge!("piccolo_agent_quarantined"),
            first_byte: histogram!("piccolo_agent_first_byte_seconds"),
        }
    }

    /// A quarantine began.
    pub(super) fn quarantine(&self, scope: Scope) {
        match scope {
            Scope::Object => self.quarantines_object.increment(1),
            Scope::Peer => {
                self.quarantines_object.increment(1);
                self.quarantines_peer.increment(1);
            }
        }
    }

    /// So many have not ended yet.
    pub(super) fn quarantined(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.quarantined.set(f64::from(count));
    }

    pub(super) fn failure(kind: FailureKind) {
        // Failures are rare enough to look the counter up.
        counter!("piccolo_agent_peer_failures_total", "cause" => cause(kind)).increment(1);
    }
}

fn cause(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Refused => "refused",
        FailureKind::Unreachable => "unreachable",
        FailureKind::Stalled => "stalled",
        FailureKind::Cut => "cut",
        FailureKind::Missing => "missing",
        FailureKind::Busy => "busy",
        FailureKind::WrongBytes => "wrong_bytes",
        FailureKind::Protocol | FailureKind::Other => "protocol",
    }
}
