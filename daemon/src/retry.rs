//! When to try again: exponential back-off with jitter, and a circuit breaker.
//!
//! Both are plain state with time and randomness as parameters.

use std::time::Duration;

use tokio::time::Instant;

/// Delays that double up to a bound, each multiplied by a random factor from 0.5 to 1.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

/// Lets no call through while the last ones failed, but for one probe at a time.
#[derive(Debug, Clone)]
pub struct Breaker {
    backoff: Backoff,
    open_until: Option<Instant>,
    failures: u32,
}

/// A breaker's decision about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Go ahead.
    Closed,
    /// Go ahead as the probe; its outcome must be reported.
    Probe,
    /// Fail at once.
    Open,
}

impl Backoff {
    /// Delays from `first` to `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The next delay; `random` is uniform in 0 to 1.
    pub fn delay(&mut self, random: f64) -> Duration {
        let delay = self.next.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
        self.next = self.next.saturating_mul(2).min(self.most);
        delay
    }

    /// After a success the delays begin anew.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

impl Breaker {
    /// A closed breaker that stays open for `first` after the first failure, and for at most
    /// `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            backoff: Backoff::new(first, most),
            open_until: None,
            failures: 0,
        }
    }

    /// Asks for a call at `now`. A probe holds the others back for as long as the last delay was.
    pub fn admit(&mut self, now: Instant) -> Admission {
        match self.open_until {
            None => Admission::Closed,
            Some(until) if now < until => Admission::Open,
            Some(_) => {
                self.open_until = Some(now + self.backoff.next);
                Admission::Probe
            }
        }
    }

    /// A call succeeded.
    pub fn succeeded(&mut self) {
        self.backoff.reset();
        self.open_until = None;
        self.failures = 0;
    }

    /// A call failed at `now`; `random` is uniform in 0 to 1.
    pub fn failed(&mut self, now: Instant, random: f64) {
        self.failures = self.failures.saturating_add(1);
        self.open_until = Some(now + self.backoff.delay(random));
    }

    /// Whether calls fail at once at `now`.
    pub fn is_open(&self, now: Instant) -> bool {
        self.open_until.is_some_and(|until| now < until)
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}
