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
        "refused, unreachable, stalled, cut, missing, busy, wrong_bytes, protocol",
    )],
    "Peers that did not deliver, by what was the matter.",
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

/// Handles of the counters.
#[derive(Debug)]
pub(super) struct Counts {
    object: Counter,
    peer: Counter,
    quarantined: Gauge,
}

impl Counts {
    pub(super) fn new() -> Self {
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
