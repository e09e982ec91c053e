//! Whether a database server answers, so that one that does not is not waited for by everybody.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::store::error::is_away;

/// A server that did not answer is left alone for this long; then one caller tries.
const REST: Duration = Duration::from_millis(500);

/// What is known of a server.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Until when it is left alone, if it did not answer.
    rest: Mutex<Option<Instant>>,
    failures: AtomicU64,
}

impl Health {
    /// Does something with the server, unless it is away.
    pub(super) async fn guarded<T>(
        &self,
        deadline: Duration,
        something: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        if self.rests() {
            return Err(away(
                "the database is away; it is tried again within a second",
            ));
        }
        self.waited(deadline, something).await
    }

    /// Goes on with what the server began, and not for longer than the deadline.
    pub(super) async fn waited<T>(
        &self,
        deadline: Duration,
        something: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let result = match tokio::time::timeout(deadline, something).await {
            Ok(result) => result,
            Err(_) => Err(away("the database did not answer in time")),
        };
        let failed = result.as_ref().is_err_and(is_away);
        *self.rest() = failed.then(|| Instant::now() + REST);
        if failed {
            self.failures.fetch_add(1, Relaxed);
        }
        result
    }

    /// Forgets that it did not answer.
    pub(super) fn forget(&self) {
        *self.rest() = None;
    }

    /// How often it did not answer. Connections from before the last time may be dead, or lead to a
    /// server that is not the primary any more.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Whether it was away lately.
    pub(super) fn is_away(&self) -> bool {
        self.rest().is_some_and(|until| Instant::now() < until)
    }

    /// Whether it is left alone. Of those who ask at the end of its rest, the first is told no.
    fn rests(&self) -> bool {
        let mut rest = self.rest();
        let now = Instant::now();
        match *rest {
            None => false,
            Some(until) if now < until => true,
            Some(_) => {
                *rest = Some(now + REST);
                false
            }
        }
    }

    fn rest(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn away(message: &str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
}
