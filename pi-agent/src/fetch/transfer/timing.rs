//! How soon peers answer, and from when on one is slow.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;

/// Answers that are remembered.
const SAMPLES: usize = 128;
/// Until as many were seen, the first guess holds.
const ENOUGH: usize = 16;
const FIRST_GUESS: Duration = Duration::from_millis(100);
/// Between these a second peer is asked, whatever was seen: sooner costs more than it saves, and
/// later is felt.
const SOONEST: Duration = Duration::from_millis(20);
const LATEST: Duration = Duration::from_millis(400);

/// Times from a request to its reply's head.
#[derive(Debug, Default)]
pub(crate) struct FirstBytes(Mutex<VecDeque<Duration>>);

impl FirstBytes {
    /// A peer answered after `time`.
    pub(crate) fn add(&self, time: Duration) {
        let mut samples = self.0.lock();
        if samples.len() >= SAMPLES {
            samples.pop_front();
        }
        samples.push_back(time);
    }

    /// The time within which 95 of 100 answered.
    pub(crate) fn slow(&self) -> Duration {
        let samples = self.0.lock();
        if samples.len() < ENOUGH {
            return FIRST_GUESS;
        }
        let mut sorted: Vec<_> = samples.iter().copied().collect();
        drop(samples);
        sorted.sort_unstable();
        let at = sorted.len() * 95 / 100;
        let p95 = sorted.get(at).copied().unwrap_or(FIRST_GUESS);
        p95.clamp(SOONEST, LATEST)
    }
}
