//! Text tables and numbers for people.

use std::fmt::Write as _;

/// Columns as wide as their widest cell; numbers stand on the right, as their headings say by a
/// leading `>`.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let names = headings
        .iter()
        .map(|h| h.trim_start_matches('>').to_owned())
        .collect();
    let all = || std::iter::once(&names).chain(rows);
    let width = |column: usize| {
        all()
            .filter_map(|row: &Vec<String>| row.get(column))
            .map(|c| c.chars().count())
            .max()
    };
    let mut text = String::new();
    for row in all() {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or_default();
            let right = headings.get(column).is_some_and(|h| h.starts_with('>'));
            // Writing to a String cannot fail.
            let _ = if right {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A number of bytes: `1.5 MiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = 0;
    let mut tenths = u128::from(count) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 {
        format!("{count} {name}")
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

/// A rate: `1.5 MiB/s`, or nothing for none.
pub(super) fn rate(bytes_per_second: Option<u64>) -> String {
    match bytes_per_second {
        Some(0) | None => "-".to_owned(),
        Some(rate) => format!("{}/s", bytes(rate)),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, rate, table};

    #[test]
    fn numbers_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(200 << 20), "200.0 MiB");
        assert_eq!(bytes(u64::MAX), "16383.9 PiB");
        assert_eq!(rate(Some(0)), "-");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [
            vec!["a".to_owned(), "1".to_owned()],
            vec!["bbb".to_owned(), "22".to_owned()],
        ];
        assert_eq!(
            table(&["name", ">n"], &rows),
            "name   n\na      1\nbbb   22\n"
        );
    }
}
