//! Measures sides in turns, so that changes of the machine affect all of them.

use std::fmt;

use anyhow::{Context as _, Result};

use crate::shell::say;

use super::stats::Series;
use super::table::{Cell, Table};

/// One of the things that are compared: measures itself once, giving `N` figures.
pub(crate) struct Side<'a, const N: usize> {
    name: String,
    measure: Box<dyn FnMut() -> Result<[f64; N]> + 'a>,
}

/// Every side's figures of all rounds. The first side is the base of the ratios.
#[derive(Debug)]
pub(crate) struct Comparison<const N: usize> {
    /// Names of the figures, with their units.
    metrics: [&'static str; N],
    sides: Vec<(String, [Series; N])>,
}

impl<'a, const N: usize> Side<'a, N> {
    pub(crate) fn new(
        name: impl Into<String>,
        measure: impl FnMut() -> Result<[f64; N]> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            measure: Box::new(measure),
        }
    }
}

impl<const N: usize> Comparison<N> {
    /// Measures all sides once in each round; every other round goes backwards.
    pub(crate) fn run(
        metrics: [&'static str; N],
        rounds: u32,
        sides: &mut [Side<'_, N>],
    ) -> Result<Self> {
        let mut all: Vec<_> = sides
            .iter()
            .map(|side| (side.name.clone(), [const { Series::new() }; N]))
            .collect();
        for round in 0..rounds {
            say(&format!("round {} of {rounds}", round + 1));
            let mut turn: Vec<_> = sides.iter_mut().zip(&mut all).collect();
            if round % 2 == 1 {
                turn.reverse();
            }
            for (side, (_, series)) in turn {
                let measured = (side.measure)();
                let figures = measured.with_context(|| format!("measuring {}", side.name))?;
                for (series, figure) in series.iter_mut().zip(figures) {
                    series.push(figure);
                }
            }
        }
        Ok(Self {
            metrics,
            sides: all,
        })
    }

    /// Median of one of a side's figures.
    pub(crate) fn median(&self, side: &str, metric: &str) -> Option<f64> {
        self.series(side, metric)?.median()
    }

    /// Spread of one of a side's figures.
    pub(crate) fn spread(&self, side: &str, metric: &str) -> Option<f64> {
        self.series(side, metric)?.spread()
    }

    /// Between what the true ratio of one of a side's figures to the first side's lies: see
    /// [`Series::ratio_bounds`].
    pub(crate) fn ratio_bounds(&self, side: &str, metric: &str) -> Option<(f64, f64)> {
        let (base, _) = self.sides.first()?;
        let base = self.series(base, metric)?;
        self.series(side, metric)?.ratio_bounds(base)
    }

    fn series(&self, side: &str, metric: &str) -> Option<&Series> {
        let (_, series) = self.sides.iter().find(|(name, _)| name == side)?;
        let place = self.metrics.iter().position(|name| *name == metric)?;
        series.get(place)
    }

    /// A row for each side: of each figure the median, the spread, and the ratio to the first
    /// side's in the same round.
    pub(crate) fn table(&self, title: impl Into<String>) -> Table {
        let mut columns = vec![String::new()];
        for metric in self.metrics {
            columns.extend([metric.to_owned(), "±%".to_owned(), "ratio".to_owned()]);
        }
        let mut table = Table::new(title, columns);
        let base = self.sides.first().map(|(_, series)| series);
        for (name, series) in &self.sides {
            let mut row = vec![Cell::from(name.as_str())];
            for (n, series) in series.iter().enumerate() {
                let ratio = base
                    .and_then(|base| base.get(n))
                    .and_then(|base| series.ratio(base));
                row.extend([
                    Cell::from(series.median()),
                    Cell::from(series.spread().map(|spread| (spread * 100.0).round())),
                    Cell::from(ratio),
                ]);
            }
            table.row(row);
        }
        table
    }
}

impl<const N: usize> fmt::Debug for Side<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn sides_take_turns_and_the_ratio_is_that_of_a_round() {
        let order = RefCell::new(String::new());
        let (mut slow, mut fast) = (0.0, 0.0);
        let mut sides = [
            Side::new("A", || {
                order.borrow_mut().push('A');
                slow += 2.0;
                Ok([slow])
            }),
            Side::new("B", || {
                order.borrow_mut().push('B');
                fast += 1.0;
                Ok([fast])
            }),
        ];
        let comparison = Comparison::run(["s"], 3, &mut sides).expect("nothing fails");
        drop(sides);
        assert_eq!(order.into_inner(), "ABBAAB");
        let text = comparison.table("t").to_string();
        let rows: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows.get(2),
            Some(&vec!["A", "4.00", "50.0", "1.00"]),
            "{text}"
        );
        assert_eq!(
            rows.get(3),
            Some(&vec!["B", "2.00", "50.0", "0.500"]),
            "{text}"
        );
    }
}
