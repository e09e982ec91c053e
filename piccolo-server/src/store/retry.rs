//! Retries transactions that conflicted with another one.

use std::{
    future::Future,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use daemon::{metric::Metric, retry::Backoff};

use crate::store::engine::Engine;

const CONFLICTS: &str = "piccolo_server_transaction_conflicts_total";

pub(super) const METRIC: Metric = Metric::counter(
    CONFLICTS,
    &[],
    "Transactions that conflicted with another one and were retried.",
);

/// How often a transaction is tried.
const TRIES: u32 = 10;
/// The first pause, and the longest. Several members of a cluster that take writes of the same rows
/// learn of each other's only after a while.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));

/// Retries a transaction while it fails because of a conflict, with exponential back-off and
/// jitter, so that two instances do not collide again.
pub(super) async fn retried<E, T, F>(mut attempt: impl FnMut() -> F) -> Result<T, sqlx::Error>
where
    E: Engine,
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let mut pause = Backoff::new(PAUSES.0, PAUSES.1);
    for _ in 1..TRIES {
        match attempt().await {
            Err(error) if E::is_conflict(&error) => {
                metrics::counter!(CONFLICTS).increment(1);
                tokio::time::sleep(pause.delay(random())).await;
            }
            done => return done,
        }
    }
    attempt().await
}

/// From 0 to 1: the standard library seeds its hash maps with random numbers.
fn random() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}
