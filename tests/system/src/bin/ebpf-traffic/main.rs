//! Makes TCP traffic of known size and known end, and counts it as the agent does.
//!
//! Both ends of every connection belong to this process, and so to its control group: the server in
//! one network namespace, the clients in another. The process itself stands in a third, so that
//! neither end is its own address. The result goes to standard output as one line of JSON.

mod ends;
mod exchange;
mod hold;
mod many;
mod outcome;
mod place;
mod transfer;

use std::time::{Duration, Instant};

use anyhow::Result;
use aya::sys::{Stats, enable_stats};
use clap::{Parser, Subcommand};
use pi_agent::ebpf::{Accounting, Choice, Settings};

/// Makes TCP traffic and counts it.
#[derive(Debug, Parser)]
struct Cli {
    #[arg(long, global = true, default_value = "ebpf")]
    accounting: Choice,
    /// How many peers are counted.
    #[arg(long)]
    capacity: Option<u32>,
    /// Milliseconds after which an idle peer is forgotten.
    #[arg(long)]
    idle: Option<u64>,
    /// Has the kernel measure its programs meanwhile, which costs a little of its own.
    #[arg(long)]
    measure: bool,
    #[command(subcommand)]
    work: Work,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Work {
    /// Connections that end in one way.
    Ends(ends::Ends),
    /// Answers of one size, timed.
    Transfer(transfer::Transfer),
    /// Connections from many addresses, or many from one.
    Many(many::Many),
    /// Attaches, says so and waits for the end of standard input.
    Hold,
    /// The client of `ends --how kill`: to be killed.
    Doomed(ends::Doomed),
}

/// The peers' port of every namespace here.
const PORT: u16 = 7787;

fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Work::Doomed(doomed) = &cli.work {
        return doomed.run();
    }
    let mut settings = Settings::new(cli.accounting, PORT);
    settings.capacity = cli.capacity.unwrap_or(settings.capacity);
    settings.idle = cli.idle.map_or(settings.idle, Duration::from_millis);
    // In force as long as the descriptor is open.
    let _measuring = cli
        .measure
        .then(|| enable_stats(Stats::RunTime))
        .transpose()?;
    let accounting = Accounting::attach(&settings, Instant::now())?;
    match &cli.work {
        Work::Ends(ends) => ends.run(&accounting),
        Work::Transfer(transfer) => transfer.run(&accounting),
        Work::Many(many) => many.run(&accounting),
        Work::Hold => hold::run(&accounting),
        Work::Doomed(_) => Ok(()),
    }
}
