//! Finds the programs under test beside the running one.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The path of a program of this workspace, built in the same profile as the caller.
///
/// # Errors
///
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the running program")?;
    own.ancestors()
        .skip(1)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("{name} has not been built: `cargo xtask test` does, or `cargo build`")
        })
}
