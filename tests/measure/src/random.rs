//! Numbers that look random and are the same in each run.

use crate::numbers::float;

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The place of `number` in a fixed disorder of 0..`bound`: multiplying by a number that has no
    /// factor in common with `bound` meets each once.
    pub(crate) fn shuffled(number: u32, bound: u32) -> u32 {
        let common = |mut a: u32, mut b: u32| {
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let factor = (2_654_435..)
            .step_by(2)
            .find(|factor| common(*factor, bound) == 1);
        let product = u64::from(number) * u64::from(factor.unwrap_or(1));
        u32::try_from(product % u64::from(bound.max(1))).unwrap_or_default()
    }

    /// Evenly in 0..`bound`; 0 where that is empty.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let scaled = ((self.next() >> 32) * u64::from(bound)) >> 32;
        u32::try_from(scaled).unwrap_or_default()
    }

    /// Evenly in 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        float(self.next() >> 11) / float(1 << 53)
    }
}
