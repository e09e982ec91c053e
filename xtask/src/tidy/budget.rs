//! One idea per file: how long the files are.

use std::path::{Component, Path};

use super::Breach;

/// No file's production part may be longer.
const MAX_PRODUCTION: usize = 500;
/// An in-file test module that is longer belongs into a file of its own.
const MAX_TESTS: usize = 100;

/// The lengths seen so far.
#[derive(Debug, Default)]
pub(super) struct Budget {
    lengths: Vec<usize>,
}

impl Budget {
    pub(super) fn add(&mut self, path: &Path, content: &str, breaches: &mut Vec<Breach>) {
        if is_test(path) {
            return;
        }
        let lines = content.lines().count();
        let production = content
            .lines()
            .position(|line| line.starts_with("mod tests {"))
            .map_or(lines, |tests| tests.saturating_sub(1));
        if production > MAX_PRODUCTION {
            let what = format!("{production} production lines; the most is {MAX_PRODUCTION}");
            breaches.push(Breach::new(path, what));
        }
        let tests = lines - production;
        if tests > MAX_TESTS {
            let what = format!(
                "{tests} lines of tests in the file; move them to {}",
                moved(path)
            );
            breaches.push(Breach::new(path, what));
        }
        self.lengths.push(production);
    }

    pub(super) fn summary(&self) -> String {
        let mut lengths = self.lengths.clone();
        lengths.sort_unstable();
        let at = |percent: usize| {
            let index = lengths.len().saturating_sub(1) * percent / 100;
            lengths.get(index).copied().unwrap_or_default()
        };
        format!(
            "{} files, production lines: {} in the median, {} at the 90th percentile, {} at most",
            lengths.len(),
            at(50),
            at(90),
            at(100)
        )
    }
}

fn is_test(path: &Path) -> bool {
    let mut parts = path.components().map(Component::as_os_str);
    let in_tests = parts.clone().any(|part| part == "tests");
    // The packages below `tests/` have production code as others do: test bed, benches, simulator.
    let is_package = parts.next().is_some_and(|part| part == "tests")
        && parts.nth(1).is_some_and(|part| part == "src");
    path.ends_with("tests.rs") || in_tests && !is_package
}

fn moved(path: &Path) -> String {
    path.with_extension("")
        .join("tests.rs")
        .display()
        .to_string()
}
