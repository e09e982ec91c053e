//! What the figures were measured on.

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread;

use anyhow::Result;
use serde::Serialize;

use crate::shell;

/// The machine, and when.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    date: String,
    commit: String,
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
}

impl Machine {
    pub(super) fn look() -> Result<Self> {
        let mut date = Command::new("date");
        let mut git = Command::new("git");
        git.args(["rev-parse", "--short=12", "HEAD"])
            .current_dir(crate::workspace::root()?);
        Ok(Self {
            date: one_line(date.args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
            commit: one_line(&mut git),
            cpu: value("/proc/cpuinfo", "model name"),
            cores: thread::available_parallelism().map_or(0, Into::into),
            memory_mib: kibibytes(&value("/proc/meminfo", "MemTotal")) >> 10,
            kernel: one_line(Command::new("uname").arg("-r")),
        })
    }
}

/// What a command says, or nothing where it cannot be asked: the figures are good all the same.
fn one_line(command: &mut Command) -> String {
    let said = shell::output(command).unwrap_or_default();
    said.trim().to_owned()
}

/// The value of the first `name : value` line of a file.
pub(super) fn value(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

/// The number of a `1234 kB`.
pub(super) fn kibibytes(value: &str) -> u64 {
    let number = value.trim_end_matches("kB").trim();
    number.parse().unwrap_or_default()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            date,
            commit,
            cpu,
            cores,
            memory_mib,
            kernel,
        } = self;
        write!(
            f,
            "{date}, commit {commit}, {cores} x {cpu}, {memory_mib} MiB, Linux {kernel}"
        )
    }
}
