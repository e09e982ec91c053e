//! Series in the text format of Prometheus.
//!
//! The recorder keeps a series for as long as the process lives. Those of peers come and go, so they
//! are written from what is known of the peers at the moment.

use std::fmt::{Display, Write as _};

use daemon::metric::{Kind, Metric};

/// A part of what Prometheus scrapes.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Begins the series of a metric, which follow.
    pub(crate) fn family(&mut self, metric: &Metric) {
        let Metric { name, help, .. } = metric;
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One series with its value.
    pub(crate) fn series(&mut self, metric: &Metric, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(metric.name);
        let mut before = '{';
        for (label, value) in labels {
            let _ = write!(self.0, "{before}{label}=\"{}\"", escaped(value));
            before = ',';
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_as_prometheus_wants_it() {
        let racks = Metric::gauge("racks", &[("rack", "its name")], "Racks that are known.");
        let plain = Metric::counter("plain_total", &[], "What was counted.");
        let mut page = Page::default();
        page.family(&racks);
        page.series(&racks, &[("rack", "a\\b\"c\nd"), ("row", "1")], 0.5);
        page.family(&plain);
        page.series(&plain, &[], 7);
        assert_eq!(
            page.into_text(),
            "# HELP racks Racks that are known.\n# TYPE racks gauge\n\
             racks{rack=\"a\\\\b\\\"c\\nd\",row=\"1\"} 0.5\n\
             # HELP plain_total What was counted.\n# TYPE plain_total counter\nplain_total 7\n"
        );
    }
}
