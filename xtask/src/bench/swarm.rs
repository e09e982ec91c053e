//! `bench swarm`: all nodes of a large cluster join a crowd at the same moment.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use measure::{Dataset, JoinsOutcome, JoinsPlan, Task};

use super::agents::allow_files;
use super::process;
use super::running::page;
use super::server::{Filled, Instance, prepare};
use super::table::{Cell, Table};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    filled: Filled,
    /// Nodes that begin to fetch at the same moment.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    nodes: u32,
    /// Layers that each of them fetches, the same for all.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=256))]
    keys: u32,
    /// Connections that are open at once.
    #[arg(long, default_value_t = 15_000)]
    connections: u32,
    /// How often, each time with a server that has just begun.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// After its start a server gives no permit for a second and a half.
const HUSH: Duration = Duration::from_secs(2);
/// The server shows its sums four times a second.
const SHOWN: Duration = Duration::from_secs(1);

pub(super) fn run(options: &Options) -> Result<Vec<Table>> {
    let (measure, programs) = prepare()?;
    let connections = options.connections.min(options.nodes);
    allow_files(u64::from(connections) + 1000)?;
    let dataset = Dataset {
        nodes: options.nodes,
        keys: 1,
    };
    let database = options.filled.open(&dataset, &measure, &programs)?;
    let title = format!(
        "{} nodes join for {} keys each over {connections} connections, {database}",
        options.nodes, options.keys
    );
    let columns = [
        "",
        "seconds",
        "joins/s",
        "p50 ms",
        "p99 ms",
        "permits",
        "waits",
        "503",
        "broken",
        "rules MiB",
        "more MiB",
        "server CPU-s",
        "generator CPU-s",
    ];
    let mut table = Table::new(title, columns);
    for round in 1..=options.rounds {
        let program = programs.join("piccolo-server");
        let server = Instance::start(&program, &database, "server", &[])?;
        thread::sleep(HUSH);
        let before = process::resident(server.pid()).now;
        let cpu = server.cpu()?;
        let plan = JoinsPlan {
            server: server.api,
            nodes: options.nodes,
            keys: options.keys,
            connections,
        };
        let outcome: JoinsOutcome = measure.run(&Task::Joins(plan))?;
        let cpu = server.cpu()?.saturating_sub(cpu).as_secs_f64();
        thread::sleep(SHOWN);
        let metrics = page(server.admin, "/metrics")?;
        let sum = |name: &str| sum(&metrics, name).with_context(|| format!("no {name}"));
        let more = process::resident(server.pid()).peak.saturating_sub(before);
        let joins = f64::from(options.nodes) * f64::from(options.keys);
        table.row([
            Cell::from(format!("round {round}")),
            outcome.seconds.into(),
            (joins / outcome.seconds).into(),
            outcome.p50_ms.into(),
            outcome.p99_ms.into(),
            sum("piccolo_server_swarm_permits_total")?.into(),
            sum("piccolo_server_swarm_waits_total")?.into(),
            f64::from(u32::try_from(outcome.refused)?).into(),
            f64::from(u32::try_from(outcome.broken)?).into(),
            (sum("piccolo_server_swarm_memory_bytes")? / f64::from(1 << 20)).into(),
            f64::from(u32::try_from(more >> 20)?).into(),
            cpu.into(),
            outcome.generator_cpu.into(),
        ]);
    }
    table.note(
        "permits are nodes sent to the registry, over all keys; one for each key is what it takes",
    );
    table.note("rules MiB is the state of the rules; more MiB is all that the server grew by, with its connections");
    Ok(vec![table])
}

/// The sum of a metric over its labels.
fn sum(page: &str, name: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let bare = series.split('{').next()?;
        (bare == name).then(|| value.parse::<f64>().ok())?
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let page = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\n";
        assert_eq!((sum(page, "a"), sum(page, "b")), (Some(5.0), None));
    }
}
