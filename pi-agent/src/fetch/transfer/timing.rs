//! Response times of peers, and when one counts as slow.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;

/// Answers that are remembered.
const SAMPLES: usize = 128;
/// Samples needed before the default is replaced.
const ENOUGH: usize = 16;
const FIRST_GUESS: Duration = Duration::from_millis(100);
/// Bounds of the hedge delay: a shorter one costs more than it saves, a longer one is noticeable.
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
