//! The ends of the data path's bench: a reader that discards what it gets, and the relays that ours
//! is compared with. `cargo xtask bench datapath` builds it optimised and runs it.

mod fetch;
mod relay;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Reads and relays.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    work: Work,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Work {
    /// Fetches objects, discards them, and says how long it took.
    Fetch(fetch::Fetch),
    /// Relays connections until it is killed.
    Relay(relay::Relay),
}

fn main() -> Result<()> {
    match Cli::parse().work {
        Work::Fetch(fetch) => fetch.run(),
        Work::Relay(relay) => relay.run(),
    }
}
