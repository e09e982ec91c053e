//! `bench agents`: the agents of a large cluster at their real rates, on one server.

use anyhow::{Context as _, Result};
use clap::Args;
use measure::{AgentsOutcome, AgentsPlan, Dataset, Phase, Task};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::server::{Filled, Instance, now, prepare};
use super::table::{Cell, Table};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    filled: Filled,
    /// How many agents are played.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    agents: u32,
    /// Keys of each agent.
    #[arg(long, default_value_t = Dataset::KEYS, value_parser = clap::value_parser!(u32).range(1..=2000))]
    keys: u32,
    /// For how long, after all have told their sets.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Seconds between two keepalives of an agent.
    #[arg(long, default_value_t = 30.0)]
    keepalive: f64,
    /// Images that each agent pulls in an hour: a find of ten layers, two single finds, and an
    /// advertisement of ten keys.
    #[arg(long, default_value_t = 1.0)]
    pulls: f64,
    /// Connections that are kept open; agents share them where they are more. The server takes no
    /// more than 65,536.
    #[arg(long, default_value_t = 50_000)]
    connections: u32,
}

pub(super) fn run(options: &Options) -> Result<Vec<Table>> {
    let (measure, programs) = prepare()?;
    let connections = options.connections.min(options.agents);
    allow_files(u64::from(connections) + 1000)?;
    let dataset = Dataset {
        nodes: options.agents,
        keys: options.keys,
    };
    let program = programs.join("piccolo-server");
    let database = options.filled.open(&dataset, &measure, &programs)?;
    let server = Instance::start(&program, &database, "server", &[])?;
    let plan = AgentsPlan {
        server: server.api,
        server_pid: server.pid(),
        database_pid: database.pid(),
        dataset,
        connections,
        seconds: options.minutes * 60.0,
        keepalive: options.keepalive,
        pulls: options.pulls,
        epoch: now()?,
    };
    let outcome: AgentsOutcome = measure.run(&Task::Agents(plan))?;
    let title = format!(
        "{} agents with {} keys each on {connections} connections, {database}; {} min with a \
         keepalive every {} s and {} pulls an hour",
        options.agents, options.keys, options.minutes, options.keepalive, options.pulls
    );
    Ok(vec![table(title, &outcome, database.pid().is_some())])
}

fn table(title: String, outcome: &AgentsOutcome, has_database: bool) -> Table {
    let columns = [
        "",
        "seconds",
        "calls/s",
        "p50 ms",
        "p99 ms",
        "server CPU %",
        "database CPU %",
        "generator CPU %",
        "MiB",
        "own MiB",
        "refused",
        "resyncs",
    ];
    let mut table = Table::new(title, columns);
    table.row(row("all tell their sets", &outcome.start, has_database));
    for (n, phase) in outcome.minutes.iter().enumerate() {
        table.row(row(&format!("minute {}", n + 1), phase, has_database));
    }
    table.note(
        "own MiB are without pages of files; CPU % is of one core; times are from when a call was due, with the agent's own wait",
    );
    let AgentsOutcome {
        reopened, broken, ..
    } = outcome;
    table.note(format!(
        "{reopened} connections were opened again, as the server closes those that are silent or have told what they had to; \
         {broken} calls were left without a reply"
    ));
    table
}

fn row(name: &str, phase: &Phase, has_database: bool) -> [Cell; 12] {
    let Phase {
        seconds,
        calls,
        resyncs,
        server_cpu,
        database_cpu,
        resident,
    } = phase;
    let count = |count: u64| Cell::from(u32::try_from(count).ok().map(f64::from));
    let percent = |cpu: f64| 100.0 * cpu / seconds;
    [
        Cell::from(name),
        Cell::from(*seconds),
        Cell::from(calls.per_second),
        Cell::from(calls.p50_ms),
        Cell::from(calls.p99_ms),
        Cell::from(percent(*server_cpu)),
        Cell::from(has_database.then(|| percent(*database_cpu))),
        Cell::from(percent(calls.generator_cpu)),
        count(resident.now >> 20),
        count(resident.own >> 20),
        count(calls.refused),
        count(*resyncs),
    ]
}

/// Every connection is an open file, here and in the server, which inherits the bound.
pub(super) fn allow_files(wanted: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    // Only root may raise the hard limit.
    let raised = Rlimit {
        current: Some(wanted),
        maximum: maximum.map(|maximum| maximum.max(wanted)),
    };
    setrlimit(Resource::Nofile, raised).with_context(|| {
        format!(
            "{wanted} open files are needed: raise the hard limit (ulimit -Hn), or ask for fewer \
             --connections"
        )
    })
}
