//! The tables of all metrics of the server; each module keeps its own next to what it counts.

use daemon::metric::Metric;

/// Every metric of the server.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    let tables = [
        crate::bandwidth::METRICS,
        crate::connections::METRICS,
        crate::crowd::METRICS,
        crate::auditor::METRICS,
        crate::evictor::METRICS,
        crate::finder::METRICS,
        crate::flusher::METRICS,
        crate::holders::METRICS,
        crate::instances::METRICS,
        crate::nodes::METRICS,
        crate::reports::METRICS,
        crate::store::METRICS,
        crate::tags::METRICS,
        crate::topology_file::METRICS,
        crate::writer::METRICS,
        daemon::issuer::METRICS,
        daemon::tls::METRICS,
        daemon::tls::OF_LISTENERS,
    ];
    let api = crate::api::METRICS.iter().copied();
    api.chain(tables).flatten()
}
