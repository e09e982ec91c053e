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

/// Chunks that were checked.
pub(crate) const CHECKED: Metric = Metric::counter(
    "piccolo_agent_swarm_chunks_checked_total",
    &[],
    "Chunks of blobs that other nodes are still getting, whose bytes were checked before they were passed on.",
);

/// Chunks that were wrong.
pub(crate) const MISFITS: Metric = Metric::counter(
    "piccolo_agent_swarm_chunk_failures_total",
    &[],
    "Chunks whose bytes did not have their digest: the node that sent them is given up, and the log names it.",
);

/// Lists that were not followed.
pub(crate) const LISTS_REFUSED: Metric = Metric::counter(
    "piccolo_agent_swarm_lists_refused_total",
    &[(
        "why",
        "`differs` (from the list that was followed before), `false` (containerd refused what fits it)",
    )],
    "Chunk lists that were given up.",
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
