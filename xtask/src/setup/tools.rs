//! Cargo's own tools, at the versions that the project is checked with.

use std::process::Command;

use anyhow::Result;

use crate::shell::{has, run, say};
use crate::workspace::cargo;

/// A program that cargo installs.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    why: &'static str,
    flags: &'static [&'static str],
}

/// The test runner.
pub(crate) const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.151",
    why: "runs the tests: each in a process, slow ones killed",
    flags: &["--no-default-features", "--features", "default-no-update"],
};

/// The checker of dependencies.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    why: "checks the dependencies' licenses and origins",
    flags: &[],
};

/// Installs the tool if there is none.
pub(crate) fn install(tool: &Tool) -> Result<()> {
    let Tool {
        name,
        version,
        why,
        flags,
    } = tool;
    if has(name) {
        return Ok(());
    }
    say(&format!(
        "Installing {name} {version}, which {why}. This takes some minutes, once."
    ));
    let mut install = cargo(&["install", "--locked", "--version", version, name])?;
    run(quick_build(install.args(*flags)))
}

/// A debug build: the tools mostly wait for the programs that they start, so a fast build is worth
/// more than a fast tool.
fn quick_build(install: &mut Command) -> &mut Command {
    install.arg("--debug").env("CARGO_PROFILE_DEV_DEBUG", "0")
}
