//! The rate of a link.

use std::fmt;

/// Bits per second.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Rate(u64);

impl Rate {
    /// Megabits (10^6) per second.
    pub const fn megabits(megabits: u32) -> Self {
        // `u64::from` is not const.
        #[expect(clippy::as_conversions, reason = "widening, in a const fn")]
        Self(megabits as u64 * 1_000_000)
    }

    /// Bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} Mbit/s", self.0 / 1_000_000)
    }
}
