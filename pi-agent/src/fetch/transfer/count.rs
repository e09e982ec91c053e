//! What is counted of transfers.

use daemon::metric::Metric;
use metrics::{Counter, Histogram, counter, histogram};

/// Transfers that another peer continued.
pub(crate) const RESUMED: Metric = Metric::counter(
    "piccolo_agent_resumed_transfers_total",
    &[],
    "Transfers to containerd that another peer continued at the same byte.",
);

/// Requests made to a second peer.
pub(crate) const HEDGES: Metric = Metric::counter(
    "piccolo_agent_hedges_total",
    &[("outcome", "won, lost")],
    "Requests made to a second peer because the first was slow, by who answered first.",
);

/// How soon peers answer.
pub(crate) const FIRST_BYTE: Metric = Metric::histogram(
    "piccolo_agent_first_byte_seconds",
    &[],
    "From a request to a peer to the end of its reply's head.",
);

/// Handles of the counters.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) resumed: Counter,
    pub(super) hedges_won: Counter,
    pub(super) hedges_lost: Counter,
    pub(super) first_byte: Histogram,
}

impl Counts {
    pub(super) fn new() -> Self {
        let hedges =
            |outcome: &'static str| counter!("piccolo_agent_hedges_total", "outcome" => outcome);
        Self {
            resumed: counter!("piccolo_agent_resumed_transfers_total"),
            hedges_won: hedges("won"),
            hedges_lost: hedges("lost"),
            first_byte: histogram!("piccolo_agent_first_byte_seconds"),
        }
    }
}
