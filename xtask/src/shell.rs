//! Runs commands with their output shown, and prints messages for the user.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Says a line.
pub(crate) fn say(line: &str) {
    // Ignored: standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Prints a command, runs it with its output shown, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    say(&format!("$ {shown}"));
    run_as(&shown, command)
}

/// Runs a command that is called `shown` in an error, with its output shown, and wants it to succeed.
pub(crate) fn run_as(shown: &str, command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting `{shown}`"))?;
    ensure!(status.success(), "`{shown}` failed ({status})");
    Ok(())
}

/// Runs a command quietly, wants it to succeed, and gives what it wrote.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting `{shown}`"))?;
    ensure!(
        output.status.success(),
        "`{shown}` failed ({})",
        output.status
    );
    String::from_utf8(output.stdout).with_context(|| format!("reading from `{shown}`"))
}

/// Whether a command of this name can be run.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args([
            "-c",
            r#"PATH="$PATH:/usr/sbin:/sbin" command -v "$1""#,
            "sh",
            program,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
