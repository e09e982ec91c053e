//! The current load of a path, or of one side of a rack.

use std::time::Duration;

use crate::Rate;
use crate::estimate::decay::remainder;
use crate::numbers::float;
use crate::sample::Sample;

/// Bytes and busy time of the last moments. With a short half-life, so that it follows the load.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    at: Duration,
    bytes: f64,
    busy: f64,
}

/// The load at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Activity {
    /// Transfers in flight at the same time, on the average.
    pub(crate) transfers: f64,
    /// What each of them reached.
    pub(crate) each: Rate,
}

impl Load {
    pub(crate) fn add(&mut self, now: Duration, half_life: Duration, sample: &Sample) {
        let left = remainder(now.saturating_sub(self.at), half_life);
        self.at = self.at.max(now);
        self.bytes = self.bytes * left + float(sample.rated_bytes);
        self.busy = self.busy * left + sample.busy.as_secs_f64();
    }

    pub(crate) fn activity(&self, now: Duration, half_life: Duration) -> Option<Activity> {
        let left = remainder(now.saturating_sub(self.at), half_life);
        // A steady transfer's busy time sums up to the mean life of what is remembered.
        let mean_life = half_life.as_secs_f64() / std::f64::consts::LN_2;
        let transfers = self.busy * left / mean_life;
        (transfers > 1e-6).then(|| Activity {
            transfers,
            each: Rate::from_bits_per_second(self.bytes / self.busy * 8.0),
        })
    }
}
