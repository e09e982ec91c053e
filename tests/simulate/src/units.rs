//! Sizes, rates and times as people write them: `1GiB`, `10Gbit`, `250ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::numbers::{float64, whole};

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Bits in a second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(pub f64);

/// A time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It does not begin with a number.
    #[error("{text:?} does not begin with a number; write it like {example}")]
    Number { text: String, example: &'static str },
    /// What follows the number is not known.
    #[error("{unit:?} in {text:?} is no unit; known are {known}")]
    Unit {
        text: String,
        unit: String,
        known: String,
    },
    /// It is nothing, less, or too much.
    #[error("{0:?} is out of range")]
    Range(String),
}

const SIZES: &[(&str, f64)] = &[
    ("B", 1.0),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
];
const RATES: &[(&str, f64)] = &[
    ("bit", 1.0),
    ("kbit", 1e3),
    ("Mbit", 1e6),
    ("Gbit", 1e9),
    ("Tbit", 1e12),
];
const TIMES: &[(&str, f64)] = &[("ms", 1e-3), ("s", 1.0), ("m", 60.0)];

impl Size {
    pub(crate) fn bytes(self) -> f64 {
        float64(self.0)
    }
}

impl Rate {
    pub(crate) fn bytes_per_second(self) -> f64 {
        self.0 / 8.0
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bytes = parse(text, SIZES, "1GiB")?;
        if (1.0..=float64(1 << 50)).contains(&bytes) {
            Ok(Self(whole(bytes)))
        } else {
            Err(UnitError::Range(text.to_owned()))
        }
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let rate = parse(text.strip_suffix("/s").unwrap_or(text), RATES, "10Gbit")?;
        if (1e3..=1e15).contains(&rate) {
            Ok(Self(rate))
        } else {
            Err(UnitError::Range(text.to_owned()))
        }
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let seconds = parse(text, TIMES, "250ms")?;
        if (0.0..=1e6).contains(&seconds) {
            Ok(Self(Duration::from_secs_f64(seconds)))
        } else {
            Err(UnitError::Range(text.to_owned()))
        }
    }
}

fn parse(text: &str, units: &[(&str, f64)], example: &'static str) -> Result<f64, UnitError> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number
        .parse()
        .map_err(|_ignored: std::num::ParseFloatError| UnitError::Number {
            text: text.to_owned(),
            example,
        })?;
    let unit = unit.trim();
    let factor = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let Some((_, factor)) = factor else {
        let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
        return Err(UnitError::Unit {
            text: text.to_owned(),
            unit: unit.to_owned(),
            known: names.join(", "),
        });
    };
    Ok(number * factor)
}

/// In the largest unit that leaves a number of one or more.
fn show(f: &mut fmt::Formatter<'_>, value: f64, units: &[(&str, f64)]) -> fmt::Result {
    let fits = units.iter().rev().find(|(_, factor)| value >= *factor);
    let (name, factor) = fits.or(units.first()).copied().unwrap_or(("", 1.0));
    write!(f, "{}{name}", (value / factor * 1000.0).round() / 1000.0)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.bytes(), SIZES.get(..5).unwrap_or(SIZES))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0, RATES)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(f, self.0.as_secs_f64(), TIMES.get(..2).unwrap_or(TIMES))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_shown() {
        let size = |text: &str| text.parse::<Size>().map(|size| size.to_string());
        assert_eq!(size("1GiB").as_deref(), Ok("1GiB"));
        assert_eq!(size("1.5 mib").as_deref(), Ok("1.5MiB"));
        assert_eq!(size("4096MiB").as_deref(), Ok("4GiB"));
        let rate = |text: &str| text.parse::<Rate>().map(|rate| rate.to_string());
        assert_eq!(rate("10Gbit/s").as_deref(), Ok("10Gbit"));
        let span = |text: &str| text.parse::<Span>().map(|span| span.to_string());
        assert_eq!(span("0.25s").as_deref(), Ok("250ms"));
    }

    #[test]
    fn what_is_none_is_refused_with_a_way_to_mend_it() {
        let error = |text: &str| text.parse::<Size>().expect_err("it is none").to_string();
        assert!(error("GiB").contains("like 1GiB"));
        assert!(error("1GiX").contains("known are B, KiB"));
        assert!(error("1").contains("known are B, KiB"));
        assert!(error("0GiB").contains("out of range"));
        assert!("0bit".parse::<Rate>().is_err());
        assert!("-1s".parse::<Span>().is_err());
    }
}
