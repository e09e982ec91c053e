//! Randomness for timers: enough to keep thousands of agents apart, and no more.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use parking_lot::Mutex;

/// A source of numbers that are good for spreading and for nothing else. Clones share it.
#[derive(Debug, Clone)]
pub struct Jitter(Arc<Mutex<Rng>>);

impl Jitter {
    /// A source that differs with each process.
    pub fn random() -> Self {
        Self::from(Rng::new())
    }

    /// A source that always gives the same.
    pub fn seeded(seed: u64) -> Self {
        Self::from(Rng::with_seed(seed))
    }

    /// The next number, uniform in 0 to 1.
    pub fn next(&self) -> f64 {
        self.0.lock().f64()
    }

    /// A duration of 0.8 to 1.2 times `middle`.
    pub fn around(&self, middle: Duration) -> Duration {
        middle.mul_f64(0.8 + 0.4 * self.next())
    }

    fn from(rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }
}
