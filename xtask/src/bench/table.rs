//! Figures in rows and columns.

use std::fmt;

use serde::Serialize;

/// A table with a title and notes below.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    notes: Vec<String>,
}

/// One figure; a word; or nothing, where nothing was measured.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Number(f64),
    Text(String),
    Nothing(()),
}

impl Table {
    pub(crate) fn new(
        title: impl Into<String>,
        columns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            title: title.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a row; its cells stand in the columns' order.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<Cell>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Adds a line below.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<Vec<String>> = std::iter::once(self.columns.clone())
            .chain(
                self.rows
                    .iter()
                    .map(|row| row.iter().map(Cell::to_string).collect()),
            )
            .collect();
        let width = |column: usize| {
            let cells = shown.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        writeln!(f, "{}", self.title)?;
        for row in &shown {
            let cells = row.iter().zip(&widths).enumerate();
            let line: Vec<_> = cells
                .map(|(n, (cell, width))| match n {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            writeln!(f, "  {}", line.join("  ").trim_end())?;
        }
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "  {note}"))
    }
}

/// Numbers with three digits that count.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => {
                let digits = match number.abs() {
                    100.0.. => 0,
                    10.0.. => 1,
                    1.0.. => 2,
                    0.1.. => 3,
                    _ => 4,
                };
                write!(f, "{number:.digits$}")
            }
            Self::Text(text) => f.write_str(text),
            Self::Nothing(()) => f.write_str("-"),
        }
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Self {
        number.map_or(Self::Nothing(()), Self::Number)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let mut table = Table::new("Finds", ["", "req/s", "p50 ms"]);
        table.row([
            Cell::from("find, popular"),
            Cell::from(21_234.4),
            Cell::from(0.25),
        ]);
        table.row([Cell::from("find"), Cell::from(1.5), Cell::from(None)]);
        table.note("with 32 connections");
        let expected = "Finds\n                 req/s  p50 ms\n  find, popular  21234   0.250\n  \
                        find            1.50       -\n  with 32 connections\n";
        assert_eq!(table.to_string(), expected);
    }
}
