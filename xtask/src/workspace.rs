//! Where things are in the workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// The workspace's directory: cargo says which; of a program that was not started by cargo, where it
/// was built.
#[expect(
    clippy::disallowed_methods,
    reason = "it is no setting: cargo tells it to what it runs"
)]
pub(crate) fn root() -> Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    let here = here.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let above = Path::new(&here).parent();
    Ok(above.context("xtask has no directory above it")?.to_owned())
}

/// A cargo that works on this workspace, with the toolchain that xtask was built with.
pub(crate) fn cargo(arguments: &[&str]) -> Result<Command> {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments).current_dir(root()?);
    Ok(cargo)
}

/// Builds the programs that the demo starts and that images are packed with.
pub(crate) fn build() -> Result<()> {
    crate::shell::run(&mut cargo(&["build", "--workspace", "--bins"])?)
}

/// Gives the files that git knows, relative to the root. New files count, ignored ones do not.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listed = crate::shell::output(git.current_dir(root()?))?;
    let names = listed.split('\0').filter(|name| !name.is_empty());
    // A file that is deleted but not yet committed is still listed.
    let root = root()?;
    let there = names
        .map(PathBuf::from)
        .filter(|path| root.join(path).is_file());
    Ok(there.collect())
}
