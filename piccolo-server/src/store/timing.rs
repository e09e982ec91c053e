//! How long the database takes for statements.

use std::time::Instant;

use daemon::metric::{Label, Metric};
use metrics::{counter, histogram};

const SECONDS: &str = "piccolo_server_statement_seconds";
const FAILURES: &str = "piccolo_server_statement_failures_total";

const STATEMENT: Label = (
    "statement",
    "`select`, `insert`, `update`, `delete`, `begin`, `commit`, `other`",
);

pub(super) const SECONDS_METRIC: Metric = Metric::histogram(
    SECONDS,
    &[STATEMENT],
    "How long the database took for a statement, with all its rows.",
);
pub(super) const FAILURES_METRIC: Metric = Metric::counter(
    FAILURES,
    &[STATEMENT],
    "Statements that failed, or were not answered in time.",
);

/// Times one statement of a kind.
pub(super) async fn timed<T>(
    kind: &'static str,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let begin = Instant::now();
    let result = statement.await;
    histogram!(SECONDS, "statement" => kind).record(begin.elapsed());
    if result.is_err() {
        counter!(FAILURES, "statement" => kind).increment(1);
    }
    result
}
