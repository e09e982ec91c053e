//! Wires the server to its process: settings, log, metrics, signals.

use std::{io::Write as _, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::CommandFactory as _;
use daemon::{
    clock::Clock,
    cycle::{self, Deadlines, End, Signals},
    readiness::Readiness,
    scope::Scope,
    telemetry,
};
use metrics_exporter_prometheus::PrometheusHandle;
use piccolo_server::{
    app::{self, Host},
    cli,
    config::{Cli, Command, Migrate, PkiCommand, PkiServe, Process, Serve},
    pki, signer,
};
use tracing::{error, warn};

/// Finds make and drop some large lists each, from whichever thread is free.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Below the ten seconds after which supervisors kill.
const DEADLINES: Deadlines = Deadlines {
    drain: Duration::from_secs(8),
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(failure) => {
            // Without a log subscriber only the text below is printed.
            error!(error = %telemetry::chain(failure.as_ref()), "ended");
            complain(&failure);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a process that could not start"
)]
fn complain(failure: &anyhow::Error) {
    eprintln!("piccolo-server: {failure:#}");
}

fn run() -> anyhow::Result<ExitCode> {
    let cli = Cli::read(std::env::args_os().collect::<Vec<_>>())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match cli.command {
        None => runtime.block_on(serve(cli.serve)),
        Some(Command::Serve(settings)) => runtime.block_on(serve(*settings)),
        Some(Command::Migrate(settings)) => runtime.block_on(migrate(settings)),
        Some(Command::Topology(command)) => {
            runtime.block_on(cli::run(command))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Swarm(look)) => {
            runtime.block_on(cli::swarm(&look))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Pki(PkiCommand::Files(command))) => {
            print(&pki::run(&command, &Clock::system())?)
        }
        Some(Command::Pki(PkiCommand::Serve(settings))) => runtime.block_on(sign(*settings)),
        Some(Command::MetricsDoc) => {
            let all = app::metrics().chain(signer::METRICS);
            print(&daemon::metric::reference(all))
        }
        Some(Command::SettingsDoc) => print(&daemon::settings::reference(&Cli::command())),
    }
}

async fn serve(settings: Serve) -> anyhow::Result<ExitCode> {
    start_log(&settings.process)?;
    daemon::abort::on_panic();
    let metrics = telemetry::init_metrics()?;
    daemon::metric::announce(app::metrics());
    raise_open_files();
    let signals = Signals::catch().context("signals cannot be caught")?;
    let (scope, deaths) = Scope::new();
    app::build(settings, host(&scope, metrics)).await?.run();
    let end = cycle::run(&scope, deaths, signals, DEADLINES, async {}).await;
    Ok(code(end))
}

async fn sign(settings: PkiServe) -> anyhow::Result<ExitCode> {
    start_log(&settings.process)?;
    daemon::abort::on_panic();
    let metrics = telemetry::init_metrics()?;
    daemon::metric::announce(signer::metrics());
    raise_open_files();
    let signals = Signals::catch().context("signals cannot be caught")?;
    let (scope, deaths) = Scope::new();
    signer::build(&settings, host(&scope, metrics))?.run();
    let end = cycle::run(&scope, deaths, signals, DEADLINES, async {}).await;
    Ok(code(end))
}

fn host(scope: &Scope, metrics: PrometheusHandle) -> Host {
    Host {
        scope: scope.clone(),
        readiness: Readiness::default(),
        metrics,
        clock: Clock::system(),
        instance: instance(),
    }
}

fn code(end: End) -> ExitCode {
    match end {
        End::Asked => ExitCode::SUCCESS,
        End::Died(_) => ExitCode::FAILURE,
    }
}

async fn migrate(settings: Migrate) -> anyhow::Result<ExitCode> {
    start_log(&settings.process)?;
    app::migrate(&settings).await?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn start_log(process: &Process) -> anyhow::Result<()> {
    Ok(telemetry::init_log(process.log_format, &process.log)?)
}

/// A random number: the standard library seeds its hash maps with one.
fn instance() -> i64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new()
        .hash_one(std::process::id())
        .cast_signed()
}

/// Each connection is an open file, and what a process begins with is often no more than a
/// thousand.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, ?limit, "the number of open files stays limited");
    }
}
