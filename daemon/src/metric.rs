//! What a metric is: its name, kind, labels and meaning, stated once next to what it counts.
//!
//! A module keeps a table of its metrics. From the tables come the descriptions that Prometheus
//! scrapes and the reference in `docs/metrics.md`, so that the two cannot differ.

use std::fmt::Write as _;

use metrics::Unit;

/// A metric of a process.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name that Prometheus shows.
    pub name: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// Its labels, each with the values that it takes.
    pub labels: &'static [Label],
    /// Its meaning, in one sentence.
    pub help: &'static str,
}

/// A label's name and the values that it takes.
pub type Label = (&'static str, &'static str);

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
    pub const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Self {
        Self::new(name, Kind::Counter, labels, help)
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, labels: &'static [Label], help: &'static str) -> Self {
        Self::new(name, Kind::Gauge, labels, help)
    }

    /// A histogram.
    pub const fn histogram(
        name: &'static str,
        labels: &'static [Label],
        help: &'static str,
    ) -> Self {
        Self::new(name, Kind::Histogram, labels, help)
    }

    const fn new(
        name: &'static str,
        kind: Kind,
        labels: &'static [Label],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            labels,
            help,
        }
    }

    /// Tells the recorder what this metric means. One without labels is there from now on, with
    /// nothing counted: an alert on a metric that is missing cannot tell a quiet process from a
    /// broken one.
    fn announce(&self) {
        let unit = self.unit().unwrap_or(Unit::Count);
        match self.kind {
            Kind::Counter => metrics::describe_counter!(self.name, unit, self.help),
            Kind::Gauge => metrics::describe_gauge!(self.name, unit, self.help),
            Kind::Histogram => metrics::describe_histogram!(self.name, unit, self.help),
        }
        if self.labels.is_empty() {
            match self.kind {
                Kind::Counter => metrics::counter!(self.name).increment(0),
                Kind::Gauge => metrics::gauge!(self.name).increment(0.0),
                Kind::Histogram => drop(metrics::histogram!(self.name)),
            }
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

impl Kind {
    /// The word that Prometheus has for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Tells the installed recorder what each metric means, and shows those without labels.
pub fn announce<'a>(metrics: impl IntoIterator<Item = &'a Metric>) {
    metrics.into_iter().for_each(Metric::announce);
}

/// The reference of the metrics as a Markdown table, in the order of their names.
pub fn reference<'a>(metrics: impl IntoIterator<Item = &'a Metric>) -> String {
    let mut rows: Vec<_> = metrics.into_iter().collect();
    rows.sort_by_key(|metric| metric.name);
    let mut text = String::from("| metric | kind | labels | what it says |\n|---|---|---|---|\n");
    for metric in rows {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|(name, values)| format!("`{name}`: {values}"))
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.word(),
            labels.join("; "),
            metric.help
        );
    }
    text
}
