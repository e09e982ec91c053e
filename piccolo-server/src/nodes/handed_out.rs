//! How often a node was recently handed out.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A decaying count. Two calls at the same moment may lose one of them, which does not matter: it
/// spreads load, and accounts for nothing.
#[derive(Debug, Default)]
pub(crate) struct HandedOut {
    /// The bits of a float.
    sum: AtomicU32,
    /// The low bits of milliseconds since the Unix epoch.
    at: AtomicU32,
}

/// Half-life in milliseconds: about the time that a layer takes, and until the node's next report
/// includes it.
const HALF_LIFE: f32 = 4000.0;

impl HandedOut {
    /// The decayed count.
    pub(crate) fn count(&self, now: i64) -> f32 {
        let sum = f32::from_bits(self.sum.load(Relaxed));
        if sum == 0.0 {
            return 0.0;
        }
        let elapsed = low(now).wrapping_sub(self.at.load(Relaxed));
        // The clock was set back, or four weeks passed.
        let elapsed = u16::try_from(elapsed).unwrap_or(u16::MAX);
        sum * (-f32::from(elapsed) / HALF_LIFE).exp2()
    }

    /// One more; `part` is 1 for the first place of an answer, and less for those behind.
    pub(crate) fn add(&self, now: i64, part: f32) {
        let sum = self.count(now) + part;
        self.sum.store(sum.to_bits(), Relaxed);
        self.at.store(low(now), Relaxed);
    }

    /// The node's own report includes these uploads from now on.
    pub(crate) fn clear(&self) {
        self.sum.store(0, Relaxed);
    }
}

fn low(now: i64) -> u32 {
    u32::try_from(now & i64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_forgotten_after_a_half_life() {
        let handed_out = HandedOut::default();
        handed_out.add(1_000_000, 1.0);
        handed_out.add(1_000_000, 0.5);
        assert!((handed_out.count(1_000_000) - 1.5).abs() < 1e-6);
        assert!((handed_out.count(1_004_000) - 0.75).abs() < 1e-6);
        assert!(handed_out.count(9_000_000) < 0.001);
        handed_out.clear();
        assert!(handed_out.count(1_000_000) < f32::EPSILON);
    }
}
