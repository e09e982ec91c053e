//! Numbers with units, as people write them: `25Gbit`, `100 Gbps`, `10m`, `1MiB`.

use std::time::Duration;

use crate::Rate;
use crate::file::problem::Problem;
use crate::numbers::whole;

const RATE: &str = "a rate";
const RATE_UNITS: &str = "`kbit`, `Mbit`, `Gbit`, `Tbit`, `Gbps`, `Gbit/s`, `MB/s`, `MiB/s`";
const TIME: &str = "a time";
const SIZE: &str = "an amount of bytes";

/// A rate; between 1 kbit and 10 Tbit per second.
pub(crate) fn rate(text: &str) -> Result<Rate, Problem> {
    let (number, unit) = split(text).ok_or(Problem::Not {
        wanted: RATE,
        example: "25Gbit",
    })?;
    if number == 0.0 {
        return Err(Problem::NoBandwidth);
    }
    if unit.is_empty() {
        return Err(Problem::NoUnit {
            wanted: RATE,
            example: format!("{number}Gbit"),
        });
    }
    let unknown = || Problem::UnknownUnit {
        wanted: RATE,
        unit: unit.to_owned(),
        units: RATE_UNITS,
    };
    let (size, rest) = scale(unit);
    let bits = match rest {
        // `25G` is a rate to everybody; `10m` is more often a time.
        "" if unit.chars().all(|c| c.is_ascii_uppercase()) => 1.0,
        "b" | "bit" | "bits" | "bps" | "b/s" | "bit/s" | "bits/s" | "bit/sec" => 1.0,
        "B/s" | "Bps" | "byte/s" | "bytes/s" => 8.0,
        "B" => {
            let prefix = unit.trim_end_matches('B');
            return Err(Problem::BytesForRate {
                bits: format!("{number}{prefix}bit"),
                bytes: format!("{number}{prefix}B/s"),
            });
        }
        _ => return Err(unknown()),
    };
    let value = number * size * bits;
    if (1e3..=1e13).contains(&value) {
        Ok(Rate::from_bits_per_second(value))
    } else {
        Err(Problem::OutOfRange {
            least: "1kbit".into(),
            most: "10Tbit".into(),
        })
    }
}

/// A time, also of several parts: `1h30m`.
pub(crate) fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, Problem> {
    let not = || Problem::Not {
        wanted: TIME,
        example: "10m",
    };
    let mut seconds = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(not());
    }
    while !rest.is_empty() {
        let (number, after) = split(rest).ok_or_else(not)?;
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end).ok_or_else(not)?;
        seconds += number
            * match unit {
                "" => {
                    let example = format!("{number}s");
                    return Err(Problem::NoUnit {
                        wanted: TIME,
                        example,
                    });
                }
                "ms" => 1e-3,
                "s" | "sec" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => {
                    let units = "`ms`, `s`, `m`, `h`, `d`";
                    return Err(Problem::UnknownUnit {
                        wanted: TIME,
                        unit: unit.into(),
                        units,
                    });
                }
            };
        rest = after.trim_start();
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if (least..=most).contains(&time) => Ok(time),
        _ => Err(Problem::OutOfRange {
            least: show(least),
            most: show(most),
        }),
    }
}

/// An amount of bytes.
pub(crate) fn size(text: &str, least: u64, most: u64) -> Result<u64, Problem> {
    let (number, unit) = split(text).ok_or(Problem::Not {
        wanted: SIZE,
        example: "1MiB",
    })?;
    if unit.is_empty() {
        return Err(Problem::NoUnit {
            wanted: SIZE,
            example: format!("{number}MiB"),
        });
    }
    let (size, "B") = scale(unit) else {
        let units = "`B`, `kB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`";
        return Err(Problem::UnknownUnit {
            wanted: SIZE,
            unit: unit.into(),
            units,
        });
    };
    let bytes = whole(number * size);
    if (least..=most).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(Problem::OutOfRange {
            least: format!("{least}B"),
            most: format!("{}GiB", most >> 30),
        })
    }
}

/// A plain number.
pub(crate) fn number(text: &str, least: f64, most: f64) -> Result<f64, Problem> {
    match split(text) {
        Some((number, "")) if (least..=most).contains(&number) => Ok(number),
        Some((_, "")) => Err(Problem::OutOfRange {
            least: least.to_string(),
            most: most.to_string(),
        }),
        _ => Err(Problem::Not {
            wanted: "a number",
            example: "0.5",
        }),
    }
}

/// The number at the beginning, and what follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let sound = number.starts_with(|c: char| c.is_ascii_digit()) && !number.ends_with('.');
    let number: f64 = number
        .parse()
        .ok()
        .filter(|_| sound && number.len() <= 20)?;
    Some((number, unit.trim_start()))
}

/// The size of a unit's prefix, and the unit without it.
fn scale(unit: &str) -> (f64, &str) {
    const PREFIXES: [(&str, &str, f64, f64); 4] = [
        ("k", "K", 1e3, 1024.0),
        ("m", "M", 1e6, 1_048_576.0),
        ("g", "G", 1e9, 1_073_741_824.0),
        ("t", "T", 1e12, 1_099_511_627_776.0),
    ];
    for (small, large, decimal, binary) in PREFIXES {
        let rest = unit
            .strip_prefix(small)
            .or_else(|| unit.strip_prefix(large));
        match rest.map(|rest| (rest.strip_prefix('i'), rest)) {
            Some((Some(rest), _)) => return (binary, rest),
            Some((None, rest)) => return (decimal, rest),
            None => {}
        }
    }
    (1.0, unit)
}

fn show(time: Duration) -> String {
    match (time.as_secs(), time.subsec_millis()) {
        (0, ms) => format!("{ms}ms"),
        (s, _) if s % 86400 == 0 => format!("{}d", s / 86400),
        (s, _) if s % 3600 == 0 => format!("{}h", s / 3600),
        (s, _) if s % 60 == 0 => format!("{}m", s / 60),
        (s, _) => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests;
