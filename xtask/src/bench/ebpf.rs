//! `bench ebpf`: what counting peers in the kernel costs.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::Deserialize;
use testbed::{Network, Plan, Process, Run, wait_until};

use crate::setup::{self, BUILD, DEMO, SAMPLES};
use crate::shell::{run as run_command, say};

use super::programs::release_of;
use super::rounds::{Comparison, Side};
use super::table::Table;

mod samples;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// How often each side is measured.
    #[arg(long, default_value_t = 21)]
    rounds: u32,
    /// Megabytes that each measurement sends.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=4000))]
    megabytes: u32,
}

/// Two namespaces with a link between them, and a third for the process that counts.
#[derive(Debug)]
struct Lab {
    run: Run,
    network: Network,
    program: PathBuf,
    megabytes: u32,
    /// Each measurement has a log of its own.
    count: Cell<u32>,
}

/// What the program prints.
#[derive(Debug, Deserialize)]
struct Outcome {
    mode: Mode,
    truth: Truth,
}

#[derive(Debug, Deserialize)]
struct Mode {
    in_force: String,
    detail: String,
}

#[derive(Debug, Deserialize)]
struct Truth {
    busy_seconds: f64,
    cpu_seconds: f64,
    machine_seconds: f64,
    program: Option<Program>,
}

/// What the kernel says of the eBPF program.
#[derive(Debug, Deserialize)]
struct Program {
    runs: u32,
    nanoseconds: u32,
}

/// What happens beside a transfer.
#[derive(Debug, Clone, Copy)]
enum With {
    Nothing,
    /// The kernel measures its programs, which costs a little of its own.
    Measuring,
    /// The processors are sampled.
    Samples,
}

/// What the kernel's measuring adds to each run that it measures.
const MEASURING_NS: f64 = 45.0;
/// A link as nodes have, by tc(8): what limits it is no processor.
const LINK: &str = "tbf rate 10gbit burst 1mb limit 10mb";
const OFF: &str = "off";
const EBPF: &str = "ebpf";
const FIGURES: [&str; 2] = ["Gbit/s", "CPU s/GB"];
const PATIENCE: Duration = Duration::from_mins(2);

pub(super) fn run(options: &Options) -> Result<Vec<Table>> {
    setup::packages(&[BUILD, DEMO, SAMPLES])?;
    let lab = Lab::build(options.megabytes)?;
    let mut tables = Vec::new();
    for connections in [1, 4] {
        let title = format!("over a veth, connections: {connections}");
        tables.push(lab.compare(options.rounds, connections, &title)?);
    }
    lab.shape(&format!("add dev eth0 root {LINK}"))?;
    let title = "over a link of 10 Gbit/s, connections: 1";
    tables.push(lab.compare(options.rounds, 1, title)?);
    lab.shape("del dev eth0 root")?;
    tables.push(lab.in_kernel(options.rounds.min(5))?);
    match lab.sampled(options.rounds.min(15)) {
        Ok(table) => tables.push(table),
        // The others are worth having all the same.
        Err(error) => say(&format!("The processors cannot be sampled here: {error:#}")),
    }
    Ok(tables)
}

impl Lab {
    fn build(megabytes: u32) -> Result<Self> {
        let directory = release_of(&[("system-tests", "ebpf-traffic")])?;
        let run = Run::start()?;
        let network = Network::build(&run, &Plan::unshaped(&[3]))?;
        Ok(Self {
            run,
            network,
            program: directory.join("ebpf-traffic"),
            megabytes,
            count: Cell::new(0),
        })
    }

    /// With and without, in turns.
    fn compare(&self, rounds: u32, connections: u32, title: &str) -> Result<Table> {
        let side = |accounting| Side::new(accounting, move || self.cost(accounting, connections));
        let mut sides = [side(OFF), side(EBPF)];
        let comparison = Comparison::run(FIGURES, rounds, &mut sides)?;
        let mut table = comparison.table(format!("Sending {} MB {title}", self.megabytes));
        table.note("CPU is that of both ends; ±% is the round that is farthest from the median.");
        for figure in FIGURES {
            if let Some((low, high)) = comparison.ratio_bounds(EBPF, figure) {
                table.note(format!(
                    "{figure}: the ratio is between {low:.3} and {high:.3}, 95 times of a hundred."
                ));
            }
        }
        table.note("Goal: at most 1 % less throughput and 2 % more CPU with ebpf.");
        Ok(table)
    }

    /// Changes the queue of the server's link.
    fn shape(&self, change: &str) -> Result<()> {
        let server = self.network.nodes().first().context("no server")?;
        let mut tc = server.netns.command("tc");
        run_command(tc.arg("qdisc").args(change.split_whitespace()))
    }

    /// Throughput, and processor time for each gigabyte.
    fn cost(&self, accounting: &str, connections: u32) -> Result<[f64; 2]> {
        let Truth {
            busy_seconds,
            cpu_seconds,
            ..
        } = self.transfer(accounting, connections, With::Nothing)?;
        let gigabytes = self.gigabytes();
        Ok([gigabytes * 8.0 / busy_seconds, cpu_seconds / gigabytes])
    }

    /// What the kernel itself measures in the program.
    fn in_kernel(&self, rounds: u32) -> Result<Table> {
        let measure = || {
            let truth = self.transfer(EBPF, 1, With::Measuring)?;
            let program = truth.program.context("the kernel says nothing of it")?;
            ensure!(program.runs > 0, "the program did not run");
            let (runs, nanoseconds) = (f64::from(program.runs), f64::from(program.nanoseconds));
            let gigabytes = self.gigabytes();
            let net = (nanoseconds - MEASURING_NS * runs).max(0.0);
            Ok([
                runs / gigabytes,
                nanoseconds / runs,
                nanoseconds / 1e6 / gigabytes,
                net / 1e6 / gigabytes,
                net / 1e7 / truth.machine_seconds,
            ])
        };
        let figures = ["runs/GB", "ns/run", "ms/GB", "net ms/GB", "net % of CPU"];
        let comparison = Comparison::run(figures, rounds, &mut [Side::new(EBPF, measure)])?;
        let mut table = comparison.table("The program alone, both ends, as the kernel measures it");
        table.note(format!(
            "The kernel's own measuring takes about {MEASURING_NS} ns for each run; net is without it."
        ));
        table.note("CPU is what the whole machine spent meanwhile, the kernel's threads included.");
        Ok(table)
    }

    /// How much of what the processors do is the program's.
    fn sampled(&self, rounds: u32) -> Result<Table> {
        let side = |connections| {
            Side::new(format!("connections: {connections}"), move || {
                self.transfer(EBPF, connections, With::Samples)?;
                let share = samples::share(&self.samples())?;
                Ok([share.program, share.all])
            })
        };
        let figures = ["program, % of CPU", "all of it, % of CPU"];
        let comparison = Comparison::run(figures, rounds, &mut [side(1), side(4)])?;
        let mut table = comparison.table("The program in samples of the processors");
        table.note("Of the samples in which a processor was not idle.");
        table.note("All of it is with what the kernel does to call it, and with what it calls.");
        Ok(table)
    }

    /// Where samples of the processors lie.
    fn samples(&self) -> PathBuf {
        self.run.directory().join("samples")
    }

    fn transfer(&self, accounting: &str, connections: u32, with: With) -> Result<Truth> {
        let [server, client, observer] = self.network.nodes() else {
            anyhow::bail!("the network has other than three nodes");
        };
        let bytes = u64::from(self.megabytes) * 1_000_000 / u64::from(connections);
        let mut arguments = vec![
            format!("--accounting={accounting}"),
            "transfer".to_owned(),
            format!("--server-netns={}", server.netns.path().display()),
            format!("--client-netns={}", client.netns.path().display()),
            format!("--server={}", server.address),
            format!("--connections={connections}"),
            format!("--bytes={bytes}"),
        ];
        let mut program = self.program.clone();
        match with {
            With::Nothing => {}
            With::Measuring => arguments.insert(0, "--measure".to_owned()),
            With::Samples => {
                let mut recording = samples::recording(&self.samples());
                recording.push(program.display().to_string());
                recording.append(&mut arguments);
                (program, arguments) = (PathBuf::from(samples::PERF), recording);
            }
        }
        let name = format!("traffic{}", self.count.replace(self.count.get() + 1));
        let netns = &observer.netns;
        let mut process = Process::start(&self.run, netns, &name, &program, arguments)?;
        wait_until("the transfer to end", PATIENCE, || {
            Ok((!process.is_running()).then_some(()))
        })
        .with_context(|| process.log_tail())?;
        let log = process.log();
        let line = log.lines().rfind(|line| line.starts_with('{'));
        let line = line.with_context(|| format!("no outcome in: {log}"))?;
        let outcome: Outcome = serde_json::from_str(line).context("the outcome of a transfer")?;
        ensure!(
            outcome.mode.in_force == accounting,
            "{} is in force instead of {accounting}: {}",
            outcome.mode.in_force,
            outcome.mode.detail
        );
        Ok(outcome.truth)
    }

    fn gigabytes(&self) -> f64 {
        f64::from(self.megabytes) / 1000.0
    }
}
