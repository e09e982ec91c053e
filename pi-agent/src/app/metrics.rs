//! The tables of all metrics of the agent; each module keeps its own next to what it counts.

use daemon::metric::Metric;

/// Every table of the agent.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    [
        super::address::METRICS,
        super::former::METRICS,
        crate::containerd::METRICS,
        crate::content::METRICS,
        crate::discovery::METRICS,
        crate::disk::METRICS,
        crate::ebpf::METRICS,
        crate::fetch::METRICS,
        crate::keeper::METRICS,
        crate::mirror::METRICS,
        crate::peer::METRICS,
        crate::reach::METRICS,
        crate::tags::METRICS,
        daemon::issuer::METRICS,
        daemon::tls::METRICS,
        daemon::tls::OF_LISTENERS,
        daemon::tls::OF_AGENTS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use daemon::metric::Kind;

    use super::metrics;

    #[test]
    fn a_total_is_a_counter() {
        for metric in metrics() {
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{}", metric.name);
        }
    }
}
