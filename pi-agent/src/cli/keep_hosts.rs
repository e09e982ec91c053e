//! `pi-agent keep-hosts`: the mirror files of an agent that runs in another container.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use daemon::{
    cycle::{self, Deadlines, End, Signals},
    notify::Notifier,
    readiness::Readiness,
    scope::Scope,
    telemetry,
};

use crate::{
    config::KeepHosts,
    containerd::Containerd,
    hosts::Capabilities,
    jitter::Jitter,
    keeper::{Agent, Duty, Keeper, Report, Settings},
};

/// Longer than the last withdrawal is tried.
const DRAIN: Duration = Duration::from_secs(15);

/// Keeps the files until a signal, and takes the agent out of them then.
///
/// # Errors
/// When the log or the signals cannot be set up.
pub async fn run(settings: &KeepHosts) -> Result<ExitCode> {
    telemetry::init_log(settings.process.log_format, &settings.process.log)?;
    let signals = Signals::catch().context("signals cannot be caught")?;
    let mut entries = settings
        .hosts
        .entries(Capabilities::of(settings.resolve_tags));
    entries.release = Containerd::release(&settings.containerd_socket).await;
    let registries = entries.registries.len();
    let keeper = Keeper::new(Settings {
        entries,
        duty: Duty::Write,
        agent: if settings.end_silent_agent {
            Agent::BesideAndEnded
        } else {
            Agent::Beside
        },
        report: Report::new(Duty::Write, registries, Readiness::default()),
        notifier: Notifier::default(),
        jitter: Jitter::random(),
    });
    let (scope, deaths) = Scope::new();
    let keeping = keeper.run(scope.clone());
    scope.service("hosts", async move {
        keeping.await;
    });
    let deadlines = Deadlines { drain: DRAIN };
    Ok(
        match cycle::run(&scope, deaths, signals, deadlines, async {}).await {
            End::Asked => ExitCode::SUCCESS,
            End::Died(_) => ExitCode::FAILURE,
        },
    )
}
