//! The tables of all metrics of the server; each module keeps its own next to what it counts.

pub use daemon::metric::Metric;

/// Every table of the server.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    let tables = [
        crate::bandwidth::METRICS,
        crate::finder::METRICS,
        crate::reports::METRICS,
        crate::topology_file::METRICS,
    ];
    tables.into_iter().flatten()
}
