//! The bandwidth between racks as a table in the terminal.

use std::{collections::BTreeMap, fmt::Write as _};

use super::server::{Bandwidth, Pair};

/// With more racks the pairs are listed instead.
const MAX_RACKS: usize = 32;

/// Senders down, receivers across.
pub(super) fn table(known: &Bandwidth, coloured: bool) -> String {
    let mut racks: Vec<&str> = known.racks.iter().map(String::as_str).collect();
    let observed = known.pairs.iter().filter(|pair| pair.observed.is_some());
    racks.extend(observed.flat_map(|pair| [pair.from.as_str(), pair.to.as_str()]));
    racks.sort_unstable();
    racks.dedup();
    if racks.is_empty() {
        return "no nodes are known\n".to_owned();
    }
    let text = if racks.len() > MAX_RACKS {
        list(known, coloured)
    } else {
        square(known, &racks, coloured)
    };
    text + "bit/s; in parentheses what is declared and was not measured\n"
}

fn square(known: &Bandwidth, racks: &[&str], coloured: bool) -> String {
    let cells: BTreeMap<_, _> = known
        .pairs
        .iter()
        .map(|pair| ((pair.from.as_str(), pair.to.as_str()), pair))
        .collect();
    let corner = "from \\ to";
    let width = |text: &str| text.chars().count();
    let first = racks.iter().map(|rack| width(rack)).max().unwrap_or(0);
    let first = first.max(corner.len());
    let mut text = format!("{corner:<first$}");
    for rack in racks {
        let column = width(rack).max(CELL);
        // Writing to a String cannot fail.
        let _ = write!(text, "  {rack:>column$}");
    }
    text.push('\n');
    for from in racks {
        let _ = write!(text, "{from:<first$}");
        for to in racks {
            let column = width(to).max(CELL);
            text.push_str("  ");
            match cells.get(&(*from, *to)) {
                Some(pair) => text.push_str(&painted(pair, column, coloured)),
                None => {
                    let _ = write!(text, "{:>column$}", "-");
                }
            }
        }
        text.push('\n');
    }
    text
}

fn list(known: &Bandwidth, coloured: bool) -> String {
    let observed = known.pairs.iter().filter(|pair| pair.observed.is_some());
    let mut observed: Vec<_> = observed.collect();
    observed.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
    let mut text = String::new();
    for pair in observed {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {} -> {}",
            painted(pair, CELL, coloured),
            pair.from,
            pair.to
        );
    }
    text
}

/// The widest cell: `(999M)`.
const CELL: usize = 6;

fn painted(pair: &Pair, width: usize, coloured: bool) -> String {
    let rate = short(pair.estimate);
    let cell = match pair.observed {
        Some(_) => format!("{rate:>width$}"),
        None => format!("{:>width$}", format!("({rate})")),
    };
    if !coloured {
        return cell;
    }
    let colour = colour(pair.estimate);
    let faint = if pair.observed.is_some() { "" } else { "2;" };
    format!("\x1b[{faint}38;5;{colour}m{cell}\x1b[0m")
}

/// `940M`, `9.4G`.
fn short(rate: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")];
    // Rounded as it will be printed.
    let fitting = units.into_iter().find(|(size, _)| rate / size >= 0.9995);
    let (size, unit) = fitting.unwrap_or((1.0, ""));
    let number = rate / size;
    if number < 9.95 && (number - number.round()).abs() > 0.05 {
        format!("{number:.1}{unit}")
    } else {
        format!("{number:.0}{unit}")
    }
}

/// From red for 10 Mbit/s to green for 100 Gbit/s and more, of the terminal's 256 colours.
fn colour(rate: f64) -> u8 {
    const SCALE: [u8; 9] = [196, 202, 208, 214, 220, 190, 154, 118, 46];
    let steps = SCALE.iter().zip(14..);
    // A step is the root of ten.
    let reached = steps.filter(|(_, halves)| rate.log10() * 2.0 >= f64::from(*halves));
    reached.last().map_or(196, |(colour, _)| *colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Bandwidth {
        let pair = |from: &str, to: &str, observed, estimate| Pair {
            from: from.to_owned(),
            to: to.to_owned(),
            observed,
            estimate,
        };
        Bandwidth {
            racks: vec!["left".to_owned(), "10.0.1.0/24".to_owned()],
            pairs: vec![
                pair("left", "left", None, 10e9),
                pair("left", "10.0.1.0/24", Some(470e6), 653e6),
                pair("10.0.1.0/24", "left", Some(9.1e9), 9.42e9),
            ],
        }
    }

    #[test]
    fn racks_are_rows_and_columns() {
        let expected = "\
from \\ to    10.0.1.0/24    left
10.0.1.0/24            -    9.4G
left                653M   (10G)
bit/s; in parentheses what is declared and was not measured
";
        assert_eq!(table(&known(), false), expected);
    }

    #[test]
    fn the_operators_page_shows_what_comes_out() {
        const PAGE: &str = include_str!("../../../docs/topology.md");
        let racks = ["192.168.1.0/24", "192.168.2.0/24"].map(str::to_owned);
        let mut pairs = Vec::new();
        for from in &racks {
            for to in &racks {
                let measured = from > to;
                pairs.push(Pair {
                    from: from.clone(),
                    to: to.clone(),
                    observed: measured.then_some(470e6),
                    estimate: if measured { 653e6 } else { 10e9 },
                });
            }
        }
        let racks = racks.to_vec();
        let table = table(&Bandwidth { racks, pairs }, false);
        assert!(
            PAGE.contains(&table),
            "docs/topology.md should show:\n{table}"
        );
    }

    #[test]
    fn slow_is_red_and_fast_is_green() {
        for (rate, expected) in [(1e6, 196), (10e6, 196), (1e9, 220), (100e9, 46), (1e13, 46)] {
            assert_eq!(colour(rate), expected, "{rate}");
        }
        assert!(table(&known(), true).contains("\x1b[38;5;"));
    }

    #[test]
    fn many_racks_are_a_list_slowest_first() {
        let mut known = known();
        known.racks = (0..40).map(|n| format!("r{n}")).collect();
        let table = table(&known, false);
        let first = table.lines().next().expect("a line");
        assert_eq!(first, "  653M  left -> 10.0.1.0/24");
    }

    #[test]
    fn rates_are_short() {
        for (rate, text) in [
            (999.97e6, "1G"),
            (2.5e9, "2.5G"),
            (10e9, "10G"),
            (12.0, "12"),
        ] {
            assert_eq!(short(rate), text);
        }
    }
}
