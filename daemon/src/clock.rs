//! The wall clock as a parameter.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Gives the time since the Unix epoch. Deadlines use tokio's clock instead, which tests pause.
#[derive(Debug, Clone)]
pub struct Clock(ClockSource);

#[derive(Debug, Clone)]
enum ClockSource {
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(ClockSource::System)
    }

    /// A clock that stands at `now` until [`advance`](Self::advance) moves it.
    pub fn manual(now: Duration) -> Self {
        Self(ClockSource::Manual(Arc::new(AtomicU64::new(millis(now)))))
    }

    /// Time since the Unix epoch, to the millisecond; zero on a clock set before 1970.
    pub fn now(&self) -> Duration {
        match &self.0 {
            ClockSource::System => {
                #[expect(clippy::disallowed_methods, reason = "this is the place that reads it")]
                let now = SystemTime::now();
                Duration::from_millis(millis(now.duration_since(UNIX_EPOCH).unwrap_or_default()))
            }
            ClockSource::Manual(now) => Duration::from_millis(now.load(Ordering::Relaxed)),
        }
    }

    /// Milliseconds since the Unix epoch, as databases and calls keep times.
    pub fn now_ms(&self) -> i64 {
        as_ms(self.now())
    }

    /// Moves a manual clock forward; the system clock ignores it.
    pub fn advance(&self, by: Duration) {
        if let ClockSource::Manual(now) = &self.0 {
            now.fetch_add(millis(by), Ordering::Relaxed);
        }
    }

    /// Moves a manual clock back; the system clock ignores it.
    pub fn set_back(&self, by: Duration) {
        if let ClockSource::Manual(now) = &self.0 {
            now.fetch_sub(millis(by), Ordering::Relaxed);
        }
    }
}

/// A duration in milliseconds, comparable with [`Clock::now_ms`].
pub fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
