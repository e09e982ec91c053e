//! Randomness for timers: enough to keep thousands of agents apart, and no more.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A source of numbers that are good for spreading and for nothing else. Clones share it.
#[derive(Debug, Clone)]
pub struct Jitter(Arc<AtomicU64>);

impl Jitter {
    /// A source that differs with each process.
    pub fn random() -> Self {
        Self::seeded(RandomState::new().hash_one("jitter"))
    }

    /// A source that always gives the same.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed)))
    }

    /// The next number, uniform in 0 to 1 (splitmix64).
    pub fn next(&self) -> f64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// A duration of 0.8 to 1.2 times `middle`.
    pub fn around(&self, middle: Duration) -> Duration {
        middle.mul_f64(0.8 + 0.4 * self.next())
    }
}
