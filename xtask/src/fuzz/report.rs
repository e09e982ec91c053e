//! What libFuzzer tells of a run.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::shell::say;

/// Lines of its output that are shown of a target that failed.
const SHOWN: usize = 40;
/// Bytes of an input that is printed, so that the log of a run elsewhere suffices to repeat it.
const PRINTED: usize = 8192;

/// What came of a target.
#[derive(Debug)]
pub(crate) struct Report {
    runs: Option<u64>,
    new: Option<u64>,
    /// Edges of the instrumented crates that were reached.
    coverage: Option<u64>,
    pub(super) failure: Option<Failure>,
}

/// A target that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What has made it fail, if that is known.
    input: Option<PathBuf>,
    told: String,
}

pub(super) fn heading() -> String {
    format!(
        "{:<16} {:>10} {:>11} {:>9}  result",
        "target", "runs", "new inputs", "coverage"
    )
}

impl Report {
    /// Reads what was written to standard error.
    pub(super) fn read(told: String, status: ExitStatus) -> Self {
        let stat = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        let coverage = told.lines().rev().find_map(|line| {
            let (_, rest) = line.split_once(" cov: ")?;
            rest.split(' ').next()?.parse().ok()
        });
        let written = told
            .lines()
            .find_map(|line| line.split_once("Test unit written to "));
        let input = written.map(|(_, path)| PathBuf::from(path.trim()));
        Self {
            runs: stat("stat::number_of_executed_units:"),
            new: stat("stat::new_units_added:"),
            coverage,
            failure: (!status.success()).then_some(Failure { input, told }),
        }
    }

    pub(super) fn line(&self, target: &str) -> String {
        let number =
            |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let result = if self.failure.is_some() {
            "FAILED"
        } else {
            "ok"
        };
        format!(
            "{target:<16} {:>10} {:>11} {:>9}  {result}",
            number(self.runs),
            number(self.new),
            number(self.coverage)
        )
    }
}

impl Failure {
    /// Prints why it failed, and how to see that again.
    pub(super) fn tell(&self, target: &str) -> Result<()> {
        let lines: Vec<_> = self.told.lines().collect();
        say(&format!("\n{target} failed:"));
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN)) {
            say(line);
        }
        let Some(input) = &self.input else {
            return Ok(());
        };
        say(&format!(
            "\nThe input is {0}. Again:\n  cargo xtask fuzz {target} {0}",
            input.display()
        ));
        let bytes = fs::read(input)?;
        if bytes.len() <= PRINTED {
            let text = BASE64_STANDARD.encode(&bytes);
            say(&format!(
                "Elsewhere:\n  echo {text} | base64 -d >input && cargo xtask fuzz {target} input"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_run_is_read_from_what_libfuzzer_writes() {
        let told = "INFO: Running with entropic power schedule\n\
            #2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 40Mb\n\
            #9000\tDONE   cov: 812 ft: 2900 corp: 90/4Kb lim: 8192 exec/s: 3000 rss: 60Mb\n\
            stat::number_of_executed_units: 9000\nstat::new_units_added:          7\n";
        let report = Report::read(told.to_owned(), ExitStatus::from_raw(0));
        let line = report.line("manifest");
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words, ["manifest", "9000", "7", "812", "ok"]);

        let told = "artifact_prefix='a/'; Test unit written to target/fuzz/x.failed/crash-1\n";
        let report = Report::read(told.to_owned(), ExitStatus::from_raw(77 << 8));
        assert!(report.line("x").ends_with("FAILED"));
        let input = report.failure.expect("it failed").input;
        assert_eq!(input, Some(PathBuf::from("target/fuzz/x.failed/crash-1")));
    }
}
