//! What is counted of serving peers.

use daemon::metric::Metric;
use metrics::{Counter, Gauge, counter, gauge};

/// The metrics of this module.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "piccolo_agent_served_bytes_total",
        &[],
        "Bytes of objects sent to peers.",
    ),
    Metric::counter(
        "piccolo_agent_peer_requests_total",
        &[("outcome", "served, missing, busy, range, cut, invalid")],
        "Requests of peers, by outcome.",
    ),
    Metric::counter(
        "piccolo_agent_peer_connections_refused_total",
        &[],
        "Connections of peers that were closed because their address had too many already.",
    ),
    Metric::gauge(
        "piccolo_agent_upload_slots_used",
        &[],
        "Uploads in flight that take a slot.",
    ),
];

/// Handles of the counters.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) bytes: Counter,
    pub(super) slots: Gauge,
    pub(super) refused: Counter,
    served: Counter,
    missing: Counter,
    busy: Counter,
    range: Counter,
    cut: Counter,
    invalid: Counter,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadOutcome {
    /// It was answered in full.
    Served,
    /// This node does not have the object.
    Missing,
    /// No slot was free.
    Busy,
    /// The object has no such part.
    Range,
    /// The reply did not get through to its end.
    Cut,
    /// It is no request that is understood.
    Invalid,
}

impl Counts {
    pub(super) fn new() -> Self {
        let requests = |outcome: &'static str| counter!("piccolo_agent_peer_requests_total", "outcome" => outcome);
        Self {
            bytes: counter!("piccolo_agent_served_bytes_total"),
            slots: gauge!("piccolo_agent_upload_slots_used"),
            refused: counter!("piccolo_agent_peer_connections_refused_total"),
            served: requests("served"),
            missing: requests("missing"),
            busy: requests("busy"),
            range: requests("range"),
            cut: requests("cut"),
            invalid: requests("invalid"),
        }
    }

    pub(super) fn request(&self, outcome: UploadOutcome) {
        match outcome {
            UploadOutcome::Served => &self.served,
            UploadOutcome::Missing => &self.missing,
            UploadOutcome::Busy => &self.busy,
            UploadOutcome::Range => &self.range,
            UploadOutcome::Cut => &self.cut,
            UploadOutcome::Invalid => &self.invalid,
        }
        .increment(1);
    }
}
