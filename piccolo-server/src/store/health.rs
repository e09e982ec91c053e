//! A circuit breaker per database server, so that callers do not all wait for one that is away.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::store::error::{Cause, Misfit, cause};

/// How long the breaker stays open; then one caller probes the server.
const OPEN_FOR: Duration = Duration::from_millis(500);

/// State of a server's circuit breaker.
#[derive(Debug, Default)]
pub(super) struct Health {
    rest: Mutex<Option<Rest>>,
    failures: AtomicU64,
}

/// The open state: the server did not answer, or accepts no login.
#[derive(Debug)]
struct Rest {
    /// When the next probe may go.
    until: Instant,
    /// The misconfiguration, reported also to callers that are not let through.
    misfit: Option<Misfit>,
}

impl Health {
    /// Runs a call to the server, unless the breaker is open.
    pub(super) async fn guarded<T>(
        &self,
        deadline: Duration,
        something: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        match self.refuses() {
            Some(error) => Err(error),
            None => self.waited(deadline, something).await,
        }
    }

    /// Continues a call in progress, up to the deadline.
    pub(super) async fn waited<T>(
        &self,
        deadline: Duration,
        something: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        let result = match tokio::time::timeout(deadline, something).await {
            Ok(result) => result,
            Err(_) => Err(away("the database did not answer in time")),
        };
        let error = result.as_ref().err();
        let failed =
            error.filter(|e| matches!(cause(e), Cause::Away | Cause::Misfit | Cause::Closed));
        *self.rest.lock() = failed.map(|error| Rest {
            until: Instant::now() + OPEN_FOR,
            misfit: Misfit::of(error),
        });
        if failed.is_some() {
            self.failures.fetch_add(1, Relaxed);
        }
        result
    }

    /// Closes the breaker.
    pub(super) fn forget(&self) {
        *self.rest.lock() = None;
    }

    /// How often it did not answer. Connections from before the last time may be dead, or lead to a
    /// server that is not the primary any more.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Whether the breaker is open.
    pub(super) fn is_away(&self) -> bool {
        let rest = self.rest.lock();
        rest.as_ref()
            .is_some_and(|rest| Instant::now() < rest.until)
    }

    /// Why no call is made, while the breaker is open. After that the first caller may probe.
    fn refuses(&self) -> Option<sqlx::Error> {
        let mut rest = self.rest.lock();
        let rest = rest.as_mut()?;
        let now = Instant::now();
        if now >= rest.until {
            rest.until = now + OPEN_FOR;
            return None;
        }
        Some(match &rest.misfit {
            Some(misfit) => misfit.clone().into_error(),
            None => away("the database is away; it is tried again within a second"),
        })
    }
}

fn away(message: &str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
}
