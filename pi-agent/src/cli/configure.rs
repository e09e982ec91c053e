//! `pi-agent configure`: containerd's mirror files.

use std::process::ExitCode;

use anyhow::Result;

use crate::config::Configure;

/// Writes the mirror files, or takes the agent out of them.
///
/// # Errors
/// When containerd would not read the files, or they cannot be written.
pub fn run(_settings: &Configure) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
