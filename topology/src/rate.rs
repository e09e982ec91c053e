//! A rate of transfer, as links have it and as transfers reach it.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::numbers::{float, within};

/// Bits per second: a positive, finite number between one bit and 10 Tbit.
///
/// It serialises as a number of bits per second and displays as people write it.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    const SLOWEST: f64 = 1.0;
    const FASTEST: f64 = 1e13;

    /// The nearest rate that is a sensible one; NaN becomes the slowest.
    pub const fn from_bits_per_second(bits: f64) -> Self {
        if bits >= Self::FASTEST {
            Self(Self::FASTEST)
        } else if bits >= Self::SLOWEST {
            Self(bits)
        } else {
            Self(Self::SLOWEST)
        }
    }

    /// That many bytes in that time; none where there is no time or nothing was moved.
    pub fn of_transfer(bytes: u64, busy: Duration) -> Option<Self> {
        (bytes > 0 && !busy.is_zero())
            .then(|| Self::from_bits_per_second(float(bytes) * 8.0 / busy.as_secs_f64()))
    }

    pub const fn bits_per_second(self) -> f64 {
        self.0
    }

    /// The slower of the two.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// The faster of the two.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    pub(crate) fn ln(self) -> f64 {
        self.0.ln()
    }

    pub(crate) fn from_ln(ln: f64) -> Self {
        Self::from_bits_per_second(ln.exp())
    }

    /// The rate times a factor that is no number below 0.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self::from_bits_per_second(self.0 * within(factor, 0.0, f64::MAX, 1.0))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(f64, &str); 4] = [
            (1e12, "Tbit/s"),
            (1e9, "Gbit/s"),
            (1e6, "Mbit/s"),
            (1e3, "kbit/s"),
        ];
        // Rounded as it will be printed, so that 999.96 Mbit/s becomes 1 Gbit/s.
        let (size, unit) = UNITS
            .into_iter()
            .find(|(size, _)| self.0 / size >= 0.9995)
            .unwrap_or((1.0, "bit/s"));
        let number = self.0 / size;
        let text = match number {
            100.0.. => format!("{number:.0}"),
            10.0.. => format!("{number:.1}"),
            _ => format!("{number:.2}"),
        };
        let text = if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.')
        } else {
            &text
        };
        f.pad(&format!("{text} {unit}"))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.round())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_people_write_it() {
        for (bits, text) in [
            (25e9, "25 Gbit/s"),
            (2.5e9, "2.5 Gbit/s"),
            (957e6, "957 Mbit/s"),
            (999.97e6, "1 Gbit/s"),
            (100e3, "100 kbit/s"),
            (12.0, "12 bit/s"),
            (f64::NAN, "1 bit/s"),
            (1e30, "10 Tbit/s"),
        ] {
            assert_eq!(Rate::from_bits_per_second(bits).to_string(), text);
        }
    }

    #[test]
    fn a_transfer_needs_bytes_and_time() {
        let second = Duration::from_secs(1);
        assert_eq!(
            Rate::of_transfer(125, second).map(Rate::bits_per_second),
            Some(1000.0)
        );
        assert_eq!(Rate::of_transfer(0, second), None);
        assert_eq!(Rate::of_transfer(1, Duration::ZERO), None);
    }
}
