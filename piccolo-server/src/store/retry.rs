//! Transactions that another one was in the way of.

use std::{future::Future, time::Duration};

use daemon::metric::Metric;

use crate::store::engine::Engine;

const CONFLICTS: &str = "piccolo_server_transaction_conflicts_total";

pub(super) const METRIC: Metric = Metric::counter(
    CONFLICTS,
    &[],
    "Transactions that another one was in the way of, and that were tried again.",
);

/// How often a transaction is tried.
const TRIES: u32 = 8;

/// Runs a transaction again while it fails because of another one; each time after twice as long a
/// pause, so that the other one gets done.
pub(super) async fn retried<E, T, F>(mut attempt: impl FnMut() -> F) -> Result<T, sqlx::Error>
where
    E: Engine,
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let mut pause = Duration::from_millis(1);
    for _ in 1..TRIES {
        match attempt().await {
            Err(error) if E::is_conflict(&error) => {
                metrics::counter!(CONFLICTS).increment(1);
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => return done,
        }
    }
    attempt().await
}
