//! What is counted of crowds.

use daemon::metric::Metric;
use swarm::Totals;

const KEYS: Metric = Metric::gauge(
    "piccolo_server_swarm_keys",
    &[],
    "Keys that nodes are fetching together.",
);
const FETCHING: Metric = Metric::gauge(
    "piccolo_server_swarm_fetching",
    &[],
    "Nodes that are fetching, counted once for each key.",
);
const PERMITS: Metric = Metric::gauge(
    "piccolo_server_swarm_permits",
    &[],
    "Nodes that may ask the registry now, counted once for each key.",
);
const DEPTH: Metric = Metric::gauge(
    "piccolo_server_swarm_deepest",
    &[],
    "The most hops that a node was from the registry or a complete holder, since the start.",
);
const DEPTH_NOW: Metric = Metric::gauge(
    "piccolo_server_swarm_depth",
    &[],
    "The most hops that a node is from the registry or a complete holder, of what is fetched now.",
);
const WAITS: Metric = Metric::counter(
    "piccolo_server_swarm_waits_total",
    &[],
    "Finds of nodes that were about to fetch and were told to wait.",
);
const HANDOVERS: Metric = Metric::counter(
    "piccolo_server_swarm_handovers_total",
    &[],
    "Sources that nodes gave up for another: silent, empty, busy or wrong.",
);
const FROM_REGISTRY: Metric = Metric::counter(
    "piccolo_server_swarm_keys_from_registry_total",
    &[],
    "Keys that the registry was asked for. Permits above this are copies too many.",
);
const BYTES: Metric = Metric::gauge(
    "piccolo_server_swarm_memory_bytes",
    &[],
    "Memory that the state of what is being fetched takes, about.",
);
const JOINS: Metric = Metric::counter(
    "piccolo_server_swarm_joins_total",
    &[],
    "Finds of nodes that were about to fetch.",
);
const PERMITTED: Metric = Metric::counter(
    "piccolo_server_swarm_permits_total",
    &[("reason", "`turn`, `patience` (it had waited too long)")],
    "Permits to ask the registry: copies that it was asked for, at most.",
);
const LOST: Metric = Metric::counter(
    "piccolo_server_swarm_permits_lost_total",
    &[],
    "Permits that were taken away: their holders went silent or stood still.",
);
const SAVED: Metric = Metric::counter(
    "piccolo_server_swarm_copies_saved_total",
    &[],
    "Nodes that got a key whole without the registry.",
);
const SLOW: Metric = Metric::counter(
    "piccolo_server_swarm_slow_total",
    &[],
    "Nodes that said that they take a key much more slowly than their source gets it: nobody takes it from \
     them any more.",
);
const REFUSED: Metric = Metric::counter(
    "piccolo_server_swarm_refused_total",
    &[],
    "Joins and reports for which there was no room.",
);
pub(super) const STRANGERS: Metric = Metric::counter(
    "piccolo_server_swarm_strangers_total",
    &[],
    "Joins and reports of nodes that have not announced themselves: they have no part in a crowd.",
);

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[
    KEYS,
    FETCHING,
    PERMITS,
    DEPTH,
    DEPTH_NOW,
    BYTES,
    JOINS,
    WAITS,
    HANDOVERS,
    PERMITTED,
    LOST,
    FROM_REGISTRY,
    SAVED,
    SLOW,
    REFUSED,
    STRANGERS,
];

/// Shows the sums.
pub(super) fn show(totals: &Totals) {
    #[expect(
        clippy::cast_precision_loss,
        clippy::as_conversions,
        reason = "gauges are floats"
    )]
    let gauge = |metric: Metric, value: usize| metrics::gauge!(metric.name).set(value as f64);
    gauge(KEYS, totals.keys);
    gauge(FETCHING, totals.wanting);
    gauge(PERMITS, totals.permits);
    gauge(DEPTH, usize::from(totals.deepest));
    gauge(DEPTH_NOW, usize::from(totals.depth));
    gauge(BYTES, totals.bytes_of_memory);
    metrics::counter!(JOINS.name).absolute(totals.joins);
    metrics::counter!(PERMITTED.name, "reason" => "turn").absolute(totals.turns);
    metrics::counter!(PERMITTED.name, "reason" => "patience").absolute(totals.patience);
    metrics::counter!(WAITS.name).absolute(totals.waits);
    metrics::counter!(HANDOVERS.name).absolute(totals.handovers);
    metrics::counter!(FROM_REGISTRY.name).absolute(totals.from_registry);
    metrics::counter!(LOST.name).absolute(totals.permits_lost);
    metrics::counter!(SAVED.name).absolute(totals.copies_saved());
    metrics::counter!(SLOW.name).absolute(totals.slow);
    metrics::counter!(REFUSED.name).absolute(totals.refused);
}
