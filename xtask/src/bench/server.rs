//! `bench server`: a server with a large cluster's keys, under load through HTTP.

mod cases;
mod database;
mod instance;
mod sql_server;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use measure::{Dataset, LoadOutcome, LoadPlan, Task};

use crate::setup::{self, BENCH, BUILD};
use crate::shell;

use self::cases::{CASES, Case};
use self::database::{Database, Engine, Filling};
pub(super) use self::instance::Instance;
use super::process;
use super::programs::Measure;
use super::rounds::{Comparison, Side};
use super::table::{self, Table};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    filled: Filled,
    /// Holdings in the database: 400 for each node.
    #[arg(long, default_value = "5M", value_parser = number)]
    rows: u32,
    /// Connections that are kept open and busy.
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// How long each call is made in each round, in seconds.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// How often each call is measured.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Measures only cases whose names contain one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// A database with keys in it.
#[derive(Debug, Args)]
pub(super) struct Filled {
    /// The database; where several may be named, they are measured in turns.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sqlite")]
    engine: Vec<Engine>,
    /// The directory of a MySQL, with its programs in DIR/bin.
    #[arg(long, value_name = "DIR")]
    mysql: Option<PathBuf>,
    /// Leaves the database in this directory, and uses one that is there already.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Names of the figures of one load.
const METRICS: [&str; 6] = ["req/s", "p50", "p99", "server", "database", "refused"];

pub(super) fn run(options: &Options) -> Result<Vec<Table>> {
    let (measure, programs) = prepare()?;
    let dataset = Dataset {
        nodes: options.rows.div_ceil(Dataset::KEYS),
        keys: Dataset::KEYS,
    };
    let program = programs.join("piccolo-server");
    let databases = options.filled.open_all(&dataset, &measure, &programs)?;
    let subjects: Vec<_> = databases
        .iter()
        .map(|database| Subject::start(&program, database))
        .collect::<Result<_>>()?;
    let seed = Cell::new(seed()?);
    let cases: Vec<_> = CASES.iter().filter(|case| options.wants(case)).collect();
    let pairs: Vec<_> = cases
        .iter()
        .flat_map(|case| subjects.iter().map(move |subject| (*case, subject)))
        .filter(|(case, subject)| case.cached || subject.uncached.is_some())
        .collect();
    ensure!(
        !pairs.is_empty(),
        "no case's name contains any of {:?}",
        options.only
    );
    let mut sides: Vec<_> = pairs
        .iter()
        .map(|(case, subject)| {
            Side::new(side(case, subject.database), || {
                seed.set(seed.get() + 1);
                let instance = subject.instance(case);
                let plan = LoadPlan {
                    server: instance.api,
                    dataset: dataset.clone(),
                    workload: case.workload,
                    connections: case.connections.unwrap_or(options.connections),
                    seconds: options.seconds,
                    warm_up: case.warm_up,
                    seed: seed.get(),
                };
                load(&measure, instance, subject.database, plan)
            })
        })
        .collect();
    let comparison = Comparison::run(METRICS, options.rounds, &mut sides)?;
    drop(sides);
    let mut table = calls(&pairs, &comparison, options);
    let memory = subjects.iter().map(|subject| {
        let memory = process::resident(subject.cached.pid());
        let (now, peak) = (memory.now >> 20, memory.peak >> 20);
        format!(
            "server over {}: {now} MiB resident, {peak} MiB at most",
            subject.database
        )
    });
    for note in memory.collect::<Vec<_>>() {
        table.note(note);
    }
    drop(pairs);
    drop(subjects);
    for database in &databases {
        table.note(format!(
            "{database}: {} MiB on disk",
            database.bytes()? >> 20
        ));
    }
    Ok(vec![table])
}

/// The servers over one database.
struct Subject<'a> {
    database: &'a Database,
    cached: Instance,
    /// One that remembers no answers, where the program can do without.
    uncached: Option<Instance>,
}

impl<'a> Subject<'a> {
    fn start(program: &Path, database: &'a Database) -> Result<Self> {
        let cached = Instance::start(program, database, "server", &[])?;
        let uncached = if instance::knows(program, "--find-cache-ttl")? {
            let off = ["--find-cache-ttl", "0s"];
            Some(Instance::start(program, database, "uncached", &off)?)
        } else {
            None
        };
        Ok(Self {
            database,
            cached,
            uncached,
        })
    }

    fn instance(&self, case: &Case) -> &Instance {
        let uncached = self.uncached.as_ref().filter(|_| !case.cached);
        uncached.unwrap_or(&self.cached)
    }
}

/// A case over a database.
fn side(case: &Case, database: &Database) -> String {
    format!("{}, {database}", case.name)
}

/// Installs and builds what the benches of the server need.
pub(super) fn prepare() -> Result<(Measure, PathBuf)> {
    setup::packages(&[BUILD, BENCH])?;
    Measure::build(&["piccolo-server"])
}

/// One load, and what it cost the server and the database.
fn load(
    measure: &Measure,
    instance: &Instance,
    database: &Database,
    plan: LoadPlan,
) -> Result<[f64; 6]> {
    let (server, engine) = (instance.cpu()?, database.cpu()?);
    let outcome: LoadOutcome = measure.run(&Task::Load(plan))?;
    let thousands = f64::from(u32::try_from(outcome.all)?) / 1e3;
    ensure!(thousands > 0.0, "the server answered nothing");
    let server = instance.cpu()?.saturating_sub(server).as_secs_f64() / thousands;
    let engine = database.cpu()?.saturating_sub(engine).as_secs_f64() / thousands;
    let refused = f64::from(u32::try_from(outcome.refused)?);
    Ok([
        outcome.per_second,
        outcome.p50_ms,
        outcome.p99_ms,
        server,
        engine,
        refused,
    ])
}

fn calls(pairs: &[(&Case, &Subject<'_>)], comparison: &Comparison<6>, options: &Options) -> Table {
    let title = format!(
        "{} rows, {} connections, {} s each, median of {} rounds",
        options.rows, options.connections, options.seconds, options.rounds
    );
    let columns = [
        "", "over", "req/s", "±%", "p50 ms", "p99 ms", "server", "database", "refused", "Go req/s",
        "Go p99", "Go CPU", "ours/Go",
    ];
    let mut table = Table::new(title, columns);
    for (case, subject) in pairs {
        let name = side(case, subject.database);
        let median = |metric| comparison.median(&name, metric);
        let spread = comparison.spread(&name, "req/s");
        let ratio = median("req/s")
            .zip(case.go)
            .map(|(ours, go)| ours / go.per_second);
        table.row([
            table::Cell::from(case.name),
            subject.database.to_string().into(),
            median("req/s").into(),
            spread.map(|spread| (spread * 100.0).round()).into(),
            median("p50").into(),
            median("p99").into(),
            median("server").into(),
            median("database").into(),
            median("refused").into(),
            case.go.map(|go| go.per_second).into(),
            case.go.map(|go| go.p99).into(),
            case.go.and_then(|go| go.cpu).into(),
            ratio.into(),
        ]);
    }
    table.note("server, database, Go CPU: processor seconds for 1,000 requests, all threads");
    table.note(
        "Go: the Go server with MariaDB and 20 M rows, from the issue that set the goal, measured \
         elsewhere: a hint, no ratio of one run",
    );
    table
}

impl Options {
    fn wants(&self, case: &Case) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|part| case.name.contains(part.as_str()))
    }
}

impl Filled {
    /// Opens or makes the one that is named.
    pub(super) fn open(
        &self,
        dataset: &Dataset,
        measure: &Measure,
        programs: &Path,
    ) -> Result<Database> {
        let mut databases = self.open_all(dataset, measure, programs)?;
        ensure!(databases.len() == 1, "this bench takes one --engine");
        databases.pop().context("an engine")
    }

    /// Opens or makes each. Without a directory to keep them in, they lie beside the programs.
    fn open_all(
        &self,
        dataset: &Dataset,
        measure: &Measure,
        programs: &Path,
    ) -> Result<Vec<Database>> {
        let open = |engine: &Engine| {
            let filling = Filling {
                engine: *engine,
                mysql: self.mysql.as_deref(),
                dataset,
                measure,
                server: &programs.join("piccolo-server"),
            };
            // Each has a directory of its own, where there are several.
            let own = |directory: &Path| match self.engine.as_slice() {
                [_] => directory.to_owned(),
                _ => directory.join(engine.name()),
            };
            match &self.keep {
                Some(directory) => Database::keep(&own(directory), &filling),
                None => Database::temporary(&own(&programs.with_file_name("bench")), &filling),
            }
        };
        self.engine.iter().map(open).collect()
    }
}

/// Seconds since the Unix epoch.
pub(super) fn now() -> Result<u64> {
    let seconds = shell::output(Command::new("date").arg("+%s"))?;
    seconds.trim().parse().context("what date says")
}

/// A number that is another one in each run, so that what a run adds is new to a kept database.
fn seed() -> Result<u32> {
    Ok(u32::try_from(now()? % 100_000_000).unwrap_or_default() * 40)
}

/// `5M`, `400k` or `20000`.
fn number(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.strip_suffix(['M', 'm']) {
        Some(digits) => (digits, 1_000_000),
        None => match text.strip_suffix(['K', 'k']) {
            Some(digits) => (digits, 1000),
            None => (text, 1),
        },
    };
    let number = digits
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    let number = number.filter(|number| (Dataset::KEYS..=100_000_000).contains(number));
    number.ok_or_else(|| format!("{text:?} is no number from 400 to 100M, such as 5M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_short() {
        assert_eq!(number("5M"), Ok(5_000_000));
        assert_eq!(number("400k"), Ok(400_000));
        assert_eq!(number("400"), Ok(400));
        for bad in ["5G", "", "-1", "399", "5000M"] {
            number(bad).expect_err(bad);
        }
    }
}
