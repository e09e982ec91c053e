//! Sums that forget: each counts half after a half-life.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Rate;

/// What was observed of one path, as sums in which everything counts half after a half-life.
///
/// Sums of several instances add up to what one instance would have that saw it all.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// How many samples it is worth.
    pub weight: f64,
    /// The natural logarithm of each rate in bit/s, times its weight.
    pub log_rate: f64,
    pub rated_bytes: f64,
    pub busy_seconds: f64,
}

/// The remaining share after a time: one half per half-life.
pub(crate) fn remainder(elapsed: Duration, half_life: Duration) -> f64 {
    let half_life = half_life.as_secs_f64();
    if half_life > 0.0 {
        (-elapsed.as_secs_f64() / half_life).exp2()
    } else {
        0.0
    }
}

impl Sums {
    /// The mean rate, in the log domain.
    pub fn rate(&self) -> Option<Rate> {
        let mean = self.log_rate / self.weight;
        (self.weight > 0.0 && mean.is_finite()).then(|| Rate::from_ln(mean))
    }

    pub(crate) fn times(self, factor: f64) -> Self {
        Self {
            weight: self.weight * factor,
            log_rate: self.log_rate * factor,
            rated_bytes: self.rated_bytes * factor,
            busy_seconds: self.busy_seconds * factor,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            weight: self.weight + other.weight,
            log_rate: self.log_rate + other.log_rate,
            rated_bytes: self.rated_bytes + other.rated_bytes,
            busy_seconds: self.busy_seconds + other.busy_seconds,
        }
    }

    /// Whether a row is valid: a broken or hostile database may hold others.
    pub(crate) fn is_sound(&self) -> bool {
        let all = [
            self.weight,
            self.log_rate,
            self.rated_bytes,
            self.busy_seconds,
        ];
        let mean = self.log_rate / self.weight;
        all.iter().all(|sum| (0.0..1e30).contains(sum)) && self.weight > 0.0 && mean < 35.0
    }
}
