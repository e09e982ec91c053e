//! pi-agent: reads the settings, then hands over to the library.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use daemon::{
    abort,
    clock::Clock,
    cycle::{End, Signals},
    notify::Notifier,
    telemetry,
};
use pi_agent::{
    app::{self, App, Outside},
    cli,
    config::{self, Cli, Command, Run, Systemd},
    instance::Instance,
    jitter::Jitter,
};

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a process that could not start"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("pi-agent: {error:#}");
}

fn start() -> Result<ExitCode> {
    let Cli { command, run } = config::read(std::env::args_os().collect::<Vec<_>>())?;
    match command {
        None => run_to_end(agent(run)),
        Some(Command::Run(run)) => run_to_end(agent(*run)),
        Some(Command::Configure(settings)) => run_to_end(cli::configure::run(&settings)),
        Some(Command::KeepHosts(settings)) => run_to_end(cli::keep_hosts::run(&settings)),
        Some(Command::Status(query)) => run_to_end(cli::status(&query)),
        Some(Command::Peers(settings)) => run_to_end(cli::peers(&settings)),
        Some(Command::Doctor(settings)) => run_to_end(cli::doctor::run(&settings)),
        Some(Command::MetricsDoc) => cli::metrics_doc(app::metrics()),
        Some(Command::SettingsDoc) => cli::settings_doc(),
    }
}

/// Runs `work` on a runtime of its own. What still waits for the disk then ends with the process.
fn run_to_end(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .max_blocking_threads(WAITING)
        .thread_keep_alive(IDLE)
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// Threads that move bytes: half of the cores that this process may use, since the node's cores are
/// there for its pods. The kernel does the work, so a few threads fill any link; more of them only
/// take turns with those for whom they work. What may wait for the disk has threads of its own.
fn workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).clamp(1, 8)
}

/// The most blocking threads; the disk uses some of them.
const WAITING: usize = 64;
/// How long an idle one is kept: longer than the interval between two passes over the counters.
const IDLE: Duration = Duration::from_secs(40);

/// The notifier of systemd, if systemd started this process and asked for notifications.
fn notifier(systemd: &Systemd) -> Result<Notifier> {
    let Some(socket) = &systemd.notify_socket else {
        return Ok(Notifier::default());
    };
    Notifier::new(socket, systemd.watchdog_usec.is_some())
        .with_context(|| format!("systemd's socket {} cannot be used", socket.display()))
}

async fn agent(settings: Run) -> Result<ExitCode> {
    if settings.servers.server.is_empty() {
        bail!("no server to ask: give --server http://HOST:7789 or PI_AGENT_SERVER");
    }
    telemetry::init_log(settings.process.log_format, &settings.process.log)?;
    abort::on_panic();
    let metrics = telemetry::init_metrics()?;
    daemon::metric::announce(app::metrics());
    let signals = Signals::catch().context("signals cannot be caught")?;
    let notifier = notifier(&settings.systemd)?;
    let outside = Outside {
        settings,
        metrics,
        clock: Clock::system(),
        jitter: Jitter::random(),
        instance: Instance::this(),
        notifier,
    };
    let app = App::build(outside).await?;
    Ok(match app.run(signals).await {
        End::Asked => ExitCode::SUCCESS,
        End::Died(_) => ExitCode::FAILURE,
    })
}
