//! Counting replies.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connection::Reply;
use crate::numbers::{float, wide};

/// Replies so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    all: u64,
    missing: u64,
    refused: u64,
    bytes: u64,
    nanoseconds: Vec<u32>,
}

/// What a load did. Replies of the warm-up count in `all` only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadOutcome {
    /// All replies.
    pub all: u64,
    /// Replies in a second, without the warm-up.
    pub per_second: f64,
    /// The time that half of the replies came within.
    pub p50_ms: f64,
    /// The time that 99 of 100 replies came within.
    pub p99_ms: f64,
    /// Of all replies those that said that nobody has the key.
    pub missing: u64,
    /// Of all replies those that were neither a success nor `missing`.
    pub refused: u64,
    /// Bytes of all replies.
    pub bytes: u64,
    /// Processor time that the generator itself needed.
    pub generator_cpu: f64,
}

impl Tally {
    /// Counts a reply, and where it is given the time it took.
    pub(crate) fn add(&mut self, reply: Reply, took: Option<Duration>) {
        self.all += 1;
        self.bytes += wide(reply.bytes);
        match reply.status {
            200..300 => {}
            404 => self.missing += 1,
            _ => self.refused += 1,
        }
        if let Some(took) = took {
            self.nanoseconds
                .push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
        }
    }

    pub(crate) fn outcome(mut self, counted: Duration, cpu: Duration) -> LoadOutcome {
        self.nanoseconds.sort_unstable();
        let at = |percent: usize| {
            let place = self.nanoseconds.len().saturating_sub(1) * percent / 100;
            f64::from(self.nanoseconds.get(place).copied().unwrap_or_default()) / 1e6
        };
        LoadOutcome {
            all: self.all,
            per_second: float(wide(self.nanoseconds.len())) / counted.as_secs_f64(),
            p50_ms: at(50),
            p99_ms: at(99),
            missing: self.missing,
            refused: self.refused,
            bytes: self.bytes,
            generator_cpu: cpu.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_counts_and_the_warm_up_is_not() {
        let mut tally = Tally::default();
        let reply = |status| Reply {
            status,
            bytes: 10,
            resync: false,
            last: false,
        };
        tally.add(reply(200), None);
        for ms in 1..=100 {
            tally.add(reply(201), Some(Duration::from_millis(ms)));
        }
        tally.add(reply(404), Some(Duration::from_millis(50)));
        tally.add(reply(503), Some(Duration::from_millis(50)));
        let outcome = tally.outcome(Duration::from_secs(2), Duration::ZERO);
        assert_eq!((outcome.all, outcome.missing, outcome.refused), (103, 1, 1));
        assert!((outcome.per_second - 51.0).abs() < 1e-9);
        assert!((outcome.p50_ms - 50.0).abs() < 1e-9, "{outcome:?}");
        assert!((outcome.p99_ms - 98.0).abs() < 1.5, "{outcome:?}");
    }
}
