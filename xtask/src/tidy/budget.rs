//! One idea per file: how long the files are.

use std::path::Path;

use super::Breach;

/// No file's production part may be longer.
const LONGEST: usize = 500;
/// An in-file test module that is longer belongs into a file of its own.
const LONGEST_TESTS: usize = 100;

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
        if production > LONGEST {
            let what = format!("{production} production lines; the most is {LONGEST}");
            breaches.push(Breach::new(path, what));
        }
        let tests = lines - production;
        if tests > LONGEST_TESTS {
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
    let in_tests = path.components().any(|part| part.as_os_str() == "tests");
    let is_harness = path.starts_with("tests/testbed/src") || path.starts_with("tests/system/src");
    path.ends_with("tests.rs") || in_tests && !is_harness
}

fn moved(path: &Path) -> String {
    path.with_extension("")
        .join("tests.rs")
        .display()
        .to_string()
}
