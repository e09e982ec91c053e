//! Programs of this workspace, built as they are released: optimised.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use measure::Task;
use serde::de::DeserializeOwned;

use crate::{shell, workspace};

/// Builds programs with the release profile, and gives the directory that they are in.
pub(crate) fn release(programs: &[&str]) -> Result<PathBuf> {
    let named: Vec<_> = programs
        .iter()
        .map(|program| (*program, *program))
        .collect();
    release_of(&named)
}

/// [`release`] of programs that are called otherwise than their packages: `(package, program)`.
pub(crate) fn release_of(programs: &[(&str, &str)]) -> Result<PathBuf> {
    let mut cargo = workspace::cargo(&["build", "--release"])?;
    for (package, program) in programs {
        cargo.args(["--package", package, "--bin", program]);
    }
    shell::run(&mut cargo)?;
    let own = std::env::current_exe().context("finding this program")?;
    let target = own
        .ancestors()
        .nth(2)
        .context("this program is in no target directory")?;
    Ok(target.join("release"))
}

/// The program that does what has to be optimised to measure well.
#[derive(Debug)]
pub(crate) struct Measure(PathBuf);

impl Measure {
    /// Builds it, beside other programs; gives the directory of all, too.
    pub(crate) fn build(others: &[&str]) -> Result<(Self, PathBuf)> {
        let all: Vec<_> = others.iter().copied().chain(["measure"]).collect();
        let directory = release(&all)?;
        Ok((Self(directory.join("measure")), directory))
    }

    /// The command for a task, for the caller to connect and start.
    pub(crate) fn command(&self, task: &Task) -> Result<Command> {
        let mut command = Command::new(&self.0);
        command.arg(serde_json::to_string(task).context("encoding a task")?);
        Ok(command)
    }

    /// Does a task and gives what it found.
    pub(crate) fn run<T: DeserializeOwned>(&self, task: &Task) -> Result<T> {
        let mut command = self.command(task)?;
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("starting {}", self.0.display()))?;
        ensure!(
            output.status.success(),
            "measuring {task:?} failed ({})",
            output.status
        );
        serde_json::from_slice(&output.stdout).with_context(|| format!("the outcome of {task:?}"))
    }
}
