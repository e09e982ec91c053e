//! What is counted of peers.

use daemon::metric::Metric;
use metrics::{Counter, Gauge, counter, gauge};
use piccolo_api::FailureKind;

use super::health::Scope;

/// Peers that did not deliver.
pub(crate) const FAILURES: Metric = Metric::counter(
    "piccolo_agent_peer_failures_total",
    &[(
        "cause",
        "refused, unreachable, stalled, cut, missing, busy, wrong_bytes, protocol, identity (one of both \
         sides did not show with TLS who it has to be)",
    )],
    "Failures of peers, by cause.",
);

/// Quarantines that began.
pub(crate) const QUARANTINES: Metric = Metric::counter(
    "piccolo_agent_quarantines_total",
    &[("scope", "object, peer")],
    "Peers that were put into quarantine after wrong bytes, for one object or for all.",
);

/// Quarantines now.
pub(crate) const QUARANTINED: Metric = Metric::gauge(
    "piccolo_agent_quarantined",
    &[],
    "Quarantines that have not ended yet.",
);

/// What the server said to fetches in crowds.
pub(crate) const TURNS: Metric = Metric::counter(
    "piccolo_agent_swarm_turns_total",
    &[("verdict", "take, permit, wait, alone")],
    "What the server said to fetches of what others may be fetching too: take it from a node, have \
     containerd ask the registry, wait, or no crowd: complete holders only.",
);

/// Sources that were given up.
pub(crate) const HANDED_OVER: Metric = Metric::counter(
    "piccolo_agent_swarm_handovers_total",
    &[("fault", "silent, empty, busy, wrong")],
    "Sources in crowds that were replaced by another, by cause.",
);

/// Permits that were lost.
pub(crate) const LOST: Metric = Metric::counter(
    "piccolo_agent_swarm_permits_lost_total",
    &[],
    "Permits to ask the registry that the server took back, since it gave too little here.",
);

/// Blobs for which this node was too slow to feed others.
pub(crate) const SLOW: Metric = Metric::counter(
    "piccolo_agent_swarm_slow_total",
    &[],
    "Blobs that this node took much more slowly than its source got them, and fed nobody any more.",
);

/// This node is too slow to feed others.
pub(super) fn slow() {
    counter!(SLOW.name).increment(1);
}

/// The server said what to do.
pub(super) fn turn(verdict: &'static str) {
    counter!(TURNS.name, "verdict" => verdict).increment(1);
}

/// A source was given up.
pub(super) fn handed_over(fault: &'static str) {
    counter!(HANDED_OVER.name, "fault" => fault).increment(1);
}

/// Handles of the counters.
#[derive(Debug)]
pub(super) struct Counts {
    object: Counter,
    peer: Counter,
    quarantined: Gauge,
}

impl Counts {
    pub(super) fn new() -> Self {
        // A series that begins with its first event shows no rate for it.
        for verdict in ["take", "permit", "wait", "alone"] {
            counter!(TURNS.name, "verdict" => verdict).increment(0);
        }
        for fault in ["silent", "empty", "busy", "wrong"] {
            counter!(HANDED_OVER.name, "fault" => fault).increment(0);
        }
        let quarantines =
            |scope: &'static str| counter!("piccolo_agent_quarantines_total", "scope" => scope);
        Self {
            object: quarantines("object"),
            peer: quarantines("peer"),
            quarantined: gauge!("piccolo_agent_quarantined"),
        }
    }

    /// A quarantine began.
    pub(super) fn quarantine(&self, scope: Scope) {
        self.object.increment(1);
        match scope {
            Scope::Object => {}
            Scope::Peer => self.peer.increment(1),
        }
    }

    /// Sets the number of active quarantines.
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
        FailureKind::Identity => "identity",
        FailureKind::Protocol | FailureKind::Other => "protocol",
    }
}
