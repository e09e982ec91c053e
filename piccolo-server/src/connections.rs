//! Bounds of the connections that agents open, and what they ended.

use std::time::Duration;

use daemon::serve::{Dropped, Limits};
use metrics::counter;

use crate::metric::Metric;

const DROPPED: &str = "piccolo_server_connections_dropped_total";

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[Metric::counter(
    DROPPED,
    &[(
        "reason",
        "`per_address` (its address had `--connections-per-address` already), `stalled` (it took \
         nothing of its reply for ten seconds)",
    )],
    "Connections of agents that the server ended, or did not take.",
)];

/// The bounds of the listener that agents call.
pub(crate) fn limits(per_address: usize) -> Limits {
    Limits {
        connections: 65_536,
        // An agent opens a new connection more cheaply than tens of thousands are kept: each takes
        // some 25 KB.
        head: Duration::from_secs(4),
        stall: Duration::from_secs(10),
        per_address,
        dropped: count,
    }
}

fn count(dropped: Dropped) {
    let reason = match dropped {
        Dropped::TooMany => "per_address",
        Dropped::Stalled => "stalled",
    };
    counter!(DROPPED, "reason" => reason).increment(1);
}
