//! How far a long run of tests is, a line now and then: the runner draws its bar on a terminal only.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::shell::say;

/// At least so much time lies between two lines of the same binary.
const EVERY: Duration = Duration::from_secs(15);

/// The output of the runner so far.
#[derive(Debug)]
struct Progress {
    begun: Instant,
    told: Option<Instant>,
    binary: String,
    done: usize,
}

/// One test that has passed, as the runner says it.
#[derive(Debug, PartialEq, Eq)]
struct Passed<'a> {
    /// How many are done of how many, such as `12/345`.
    place: Option<&'a str>,
    binary: &'a str,
}

/// Runs the tests. In the place of each test that passes, says how far the run is; all else that the
/// runner writes is shown as it is.
pub(super) fn run(nextest: &mut Command) -> Result<()> {
    // The level at which it names what passes.
    nextest.args(["--status-level", "pass", "--color", "never"]);
    let mut child = nextest
        .stderr(Stdio::piped())
        .spawn()
        .context("starting the test runner")?;
    let read = follow(&mut child);
    let status = child.wait().context("waiting for the test runner")?;
    read?;
    ensure!(status.success(), "the tests failed ({status})");
    Ok(())
}

fn follow(child: &mut Child) -> Result<()> {
    let lines = child.stderr.take().context("the runner has no output")?;
    let mut progress = Progress {
        begun: Instant::now(),
        told: None,
        binary: String::new(),
        done: 0,
    };
    for line in BufReader::new(lines).split(b'\n') {
        let line = line.context("reading from the test runner")?;
        let line = String::from_utf8_lossy(&line);
        match passed(&line) {
            Some(test) => {
                if let Some(told) = progress.passed(&test, Instant::now()) {
                    say(&told);
                }
            }
            None => say(&line),
        }
    }
    Ok(())
}

impl Progress {
    /// Counts a test; gives the line to say, if it is time for one.
    fn passed(&mut self, test: &Passed<'_>, now: Instant) -> Option<String> {
        self.done += 1;
        let is_due = self
            .told
            .is_none_or(|told| now.duration_since(told) >= EVERY);
        if !is_due && self.binary == test.binary {
            return None;
        }
        // Short binaries come in quick succession.
        if !is_due
            && self
                .told
                .is_some_and(|told| now.duration_since(told) < EVERY / 15)
        {
            return None;
        }
        self.told = Some(now);
        test.binary.clone_into(&mut self.binary);
        let seconds = now.duration_since(self.begun).as_secs();
        let done = test
            .place
            .map_or_else(|| self.done.to_string(), str::to_owned);
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        Some(format!(
            "  {minutes:2}:{seconds:02}  {done} tests  {}",
            test.binary
        ))
    }
}

/// Reads a line such as `        PASS [   0.004s] ( 12/345) daemon::retry doubles`.
fn passed(line: &str) -> Option<Passed<'_>> {
    let rest = line.trim_start().strip_prefix("PASS [")?;
    let (_, rest) = rest.split_once(']')?;
    let rest = rest.trim_start();
    let (place, rest) = match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((place, rest)) => (Some(place.trim()), rest),
        None => (None, rest),
    };
    let binary = rest.split_whitespace().next()?;
    Some(Passed { place, binary })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_runner_are_read() {
        let line = "        PASS [   0.004s] ( 12/345) daemon::retry doubles";
        let read = passed(line).expect("a test that passed");
        assert_eq!((read.place, read.binary), (Some("12/345"), "daemon::retry"));
        let line = "        PASS [   0.004s] daemon scope::tests::drains";
        let read = passed(line).expect("a test that passed");
        assert_eq!((read.place, read.binary), (None, "daemon"));
        for line in [
            "        FAIL [   0.004s] ( 1/2) daemon a",
            "     Summary [ 1s] 2 tests run",
            "",
        ] {
            assert_eq!(passed(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_now_and_then_says_how_far_the_run_is() {
        let begun = Instant::now();
        let mut progress = Progress {
            begun,
            told: None,
            binary: String::new(),
            done: 0,
        };
        let mut after = |seconds, place, binary| {
            let test = Passed {
                place: Some(place),
                binary,
            };
            progress.passed(&test, begun + Duration::from_secs(seconds))
        };
        assert_eq!(
            after(1, "1/40", "a").as_deref(),
            Some("   0:01  1/40 tests  a")
        );
        assert_eq!(after(2, "2/40", "a"), None);
        assert_eq!(
            after(16, "3/40", "a").as_deref(),
            Some("   0:16  3/40 tests  a")
        );
        assert_eq!(
            after(18, "4/40", "b").as_deref(),
            Some("   0:18  4/40 tests  b")
        );
        assert_eq!(
            after(75, "5/40", "b").as_deref(),
            Some("   1:15  5/40 tests  b")
        );
    }
}
