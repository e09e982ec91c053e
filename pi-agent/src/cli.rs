//! The commands besides `run`.

pub mod configure;
pub mod doctor;
pub mod keep_hosts;
mod peers;
mod query;
mod status;
mod table;

use std::{io::Write as _, process::ExitCode};

use anyhow::Result;
use clap::CommandFactory as _;
use daemon::metric::Metric;

use crate::config;

/// Carries out `status`.
///
/// # Errors
/// When the agent does not answer.
pub async fn status(query: &config::Query) -> Result<ExitCode> {
    let status = query::status(query).await?;
    print(&if query.json {
        json(&status)?
    } else {
        status::text(&status)
    })
}

/// Carries out `peers`.
///
/// # Errors
/// When the agent does not answer.
pub async fn peers(settings: &config::Peers) -> Result<ExitCode> {
    if settings.query.json {
        return print(&json(&peers::rows(&peers::second(&settings.query).await?))?);
    }
    if settings.once {
        return print(&peers::text(&peers::second(&settings.query).await?));
    }
    peers::live(&settings.query).await
}

/// Carries out `metrics-doc` for the tables of `metrics`.
///
/// # Errors
/// When standard output is closed.
pub fn metrics_doc(metrics: impl Iterator<Item = &'static Metric>) -> Result<ExitCode> {
    print(&daemon::metric::reference(metrics))
}

/// Carries out `settings-doc`.
///
/// # Errors
/// When standard output is closed.
pub fn settings_doc() -> Result<ExitCode> {
    print(&daemon::settings::reference(&config::Cli::command()))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn print(text: &str) -> Result<ExitCode> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
