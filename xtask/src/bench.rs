//! `cargo xtask bench NAME`: what Piccolo costs and gains, as ratios within one run.
//!
//! A bench measures named sides in turns ([`rounds`]), and gives tables. Programs under test and
//! whatever measures them are built optimised ([`programs`]); this program is not, and only
//! arranges.

mod agent;
mod agents;
mod crowd;
mod datapath;
mod ebpf;
mod machine;
mod process;
mod programs;
mod ranking;
mod report;
mod rounds;
mod running;
mod server;
mod soak;
mod stats;
mod swarm;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Which bench, and where its figures go.
#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    #[command(subcommand)]
    bench: Bench,
    /// Also writes the figures to this file.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What ranking the holders of a key costs, by their number and the topology file.
    Ranking(ranking::Options),
    /// What an agent answers to requests for manifests, and what it takes at rest.
    Agent(agent::Options),
    /// What moving bytes costs, beside nginx and beside simple relays.
    Datapath(datapath::Options),
    /// What counting peers in the kernel costs: throughput and processor time with and without.
    Ebpf(ebpf::Options),
    /// Many pulls with a fault of a peer in each: what they cost, and what is left behind.
    Soak(soak::Options),
    /// Nodes that pull at once an image that no node has: copies, and time as a share of one node's pull.
    Crowd(crowd::Options),
    /// What the agents of a large cluster cost one server, at their real rates.
    Agents(agents::Options),
    /// What the server's calls cost with a large cluster's keys, through HTTP.
    Server(server::Options),
    /// What a server answers when all nodes of a large cluster begin to fetch at the same moment.
    Swarm(swarm::Options),
}

/// Runs one bench and shows its tables.
pub(crate) fn run(options: &BenchOptions) -> Result<()> {
    let (name, tables) = match &options.bench {
        Bench::Ranking(options) => ("ranking", ranking::run(options)?),
        Bench::Agent(options) => ("agent", agent::run(options)?),
        Bench::Datapath(options) => ("datapath", datapath::run(options)?),
        Bench::Ebpf(options) => ("ebpf", ebpf::run(options)?),
        Bench::Soak(options) => ("soak", soak::run(options)?),
        Bench::Crowd(options) => ("crowd", crowd::run(options)?),
        Bench::Agents(options) => ("agents", agents::run(options)?),
        Bench::Server(options) => ("server", server::run(options)?),
        Bench::Swarm(options) => ("swarm", swarm::run(options)?),
    };
    report::show(name, tables, options.json.as_deref())
}
