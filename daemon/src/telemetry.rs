//! The two global objects: the tracing subscriber and the metrics recorder.

use std::{fmt, time::Duration};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::util::SubscriberInitExt;

use crate::{beat::beat, log_filter::LogFilter, scope::Scope};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What keeps telemetry from starting.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Another subscriber is installed.
    #[error("the log could not be set up")]
    Subscriber(#[source] tracing_subscriber::util::TryInitError),
    /// The recorder could not be installed.
    #[error("the metrics could not be set up")]
    Recorder(#[source] BuildError),
}

/// Seconds; from a cache hit to a pull through a slow link.
const SECONDS: [f64; 16] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 30.0,
];
/// Counts: holders of a find, keys or rows of a batch.
const COUNTS: [f64; 10] = [0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0];

/// Installs the subscriber; call it once, in `main`. Lines go to standard error.
///
/// # Errors
/// When a subscriber is there already.
pub fn init_log(format: LogFormat, filter: &LogFilter) -> Result<(), TelemetryError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter.build())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(TelemetryError::Subscriber)
}

/// Installs the metrics recorder; call it once, in `main`. Histograms whose name ends in
/// `_seconds` have buckets of time, the others of counts.
///
/// # Errors
/// When a recorder is there already.
pub fn init_metrics() -> Result<PrometheusHandle, TelemetryError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets(&COUNTS))
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(TelemetryError::Recorder)
}

/// Folds recorded values into their buckets, until the scope drains: without it they would pile up
/// between scrapes.
pub async fn upkeep(metrics: PrometheusHandle, every: Duration, scope: Scope) {
    loop {
        tokio::select! {
            () = scope.draining() => return,
            () = beat(every) => metrics.run_upkeep(),
        }
    }
}

/// Writes an error with all its causes on one line: `what: why: why of that`.
pub fn chain<'a>(error: &'a (dyn std::error::Error + 'a)) -> impl fmt::Display + 'a {
    Chain(error)
}

struct Chain<'a>(&'a (dyn std::error::Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
