//! What a metric is: its name, kind, labels and meaning, stated once next to what it counts.

use std::fmt::Write as _;

use metrics::Unit;

/// A metric of this agent. Modules keep theirs in a `METRICS` table next to what they count.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name that Prometheus shows.
    pub name: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// Its labels, each with the values that it takes.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it says, in one sentence.
    pub help: &'static str,
}

/// How a metric's values behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution in buckets.
    Histogram,
}

impl Metric {
    /// A counter.
    pub const fn counter(
        name: &'static str,
        labels: &'static [(&'static str, &'static str)],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind: Kind::Counter,
            labels,
            help,
        }
    }

    /// A gauge.
    pub const fn gauge(
        name: &'static str,
        labels: &'static [(&'static str, &'static str)],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind: Kind::Gauge,
            labels,
            help,
        }
    }

    /// A histogram.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [(&'static str, &'static str)],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind: Kind::Histogram,
            labels,
            help,
        }
    }

    fn unit(&self) -> Option<Unit> {
        let stem = self.name.strip_suffix("_total").unwrap_or(self.name);
        match stem.rsplit('_').next() {
            Some("seconds") => Some(Unit::Seconds),
            Some("bytes") => Some(Unit::Bytes),
            _ => None,
        }
    }
}

/// Every table of the agent.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    [
        crate::containerd::METRICS,
        crate::content::METRICS,
        crate::discovery::METRICS,
        crate::ebpf::METRICS,
        crate::fetch::METRICS,
        crate::mirror::METRICS,
        crate::peer::METRICS,
    ]
    .into_iter()
    .flatten()
}

/// Tells the recorder what each metric means.
pub fn describe_all() {
    for metric in all() {
        let unit = metric.unit().unwrap_or(Unit::Count);
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, unit, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, unit, metric.help),
        }
    }
}

/// The reference of all metrics as Markdown, in the order of their names.
pub fn reference() -> String {
    let mut rows: Vec<_> = all().collect();
    rows.sort_by_key(|metric| metric.name);
    let mut text = String::from("| metric | kind | labels | what it says |\n|---|---|---|---|\n");
    for metric in rows {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|(name, values)| format!("`{name}`: {values}"))
            .collect();
        let labels = labels.join("; ");
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {kind} | {labels} | {} |",
            metric.name, metric.help
        );
    }
    text
}
