//! `bench datapath`: what moving bytes costs, beside nginx and beside simple relays.
//!
//! The reader is on one node and discards what it gets; the blobs are on another. Either the reader
//! asks the holder itself (serving), or what runs on its own node and asks the holder in turn (a
//! chain, as containerd, mirror and peer are one).

pub(super) mod images;
mod load;
mod nginx;
mod secured;
pub(super) mod stand;
mod start;
mod target;

use anyhow::{Context as _, Result};
use clap::Args;

use self::{
    load::{Load, Measured},
    stand::{Layers, Stand, Target},
};
use super::rounds::{Comparison, Side};
use super::table::Table;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// How often each case is measured.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Measures only tables whose names contain one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measures chains with TLS between the nodes instead, beside those without.
    #[arg(long)]
    tls: bool,
}

/// One table: the same load on several targets.
struct Case {
    name: &'static str,
    load: Load,
    targets: &'static [Target],
    shaped: bool,
}

const SERVING: &[Target] = &[Target::Nginx, Target::Peer];
const CHAIN: &[Target] = &[Target::Proxy, Target::Splice, Target::Copy, Target::Mirror];

const CASES: [Case; 8] = [
    case("serving, one stream, 4 x 1 GiB", ONE, SERVING),
    case("serving, 16 streams of 16 MiB", SIXTEEN, SERVING),
    case("serving, 64 streams of 16 MiB", MANY, SERVING),
    case("chain, one stream, 4 x 1 GiB", ONE, CHAIN),
    case("chain, 16 streams of 16 MiB", SIXTEEN, CHAIN),
    case("chain, 64 streams of 16 MiB", MANY, CHAIN),
    shaped("1 Gbit/s, serving, one stream of 1 GiB", SERVING),
    shaped("1 Gbit/s, chain, one stream of 1 GiB", CHAIN),
];

/// nginx's and ours by the same cipher, and both without.
const SECURED: &[Target] = &[
    Target::ProxyTls,
    Target::MirrorTls,
    Target::Proxy,
    Target::Mirror,
];

const TLS_CASES: [Case; 4] = [
    case("TLS, chain, one stream, 4 x 1 GiB", ONE, SECURED),
    case("TLS, chain, 16 streams of 16 MiB", SIXTEEN, SECURED),
    case("TLS, chain, 64 streams of 16 MiB", MANY, SECURED),
    shaped("TLS, 1 Gbit/s, chain, one stream of 1 GiB", SECURED),
];

const ONE: Load = load(Layers::Large, 1, 4);
const SIXTEEN: Load = load(Layers::Small, 16, 2);
const MANY: Load = load(Layers::Small, 64, 2);

const fn case(name: &'static str, load: Load, targets: &'static [Target]) -> Case {
    Case {
        name,
        load,
        targets,
        shaped: false,
    }
}

const fn shaped(name: &'static str, targets: &'static [Target]) -> Case {
    Case {
        name,
        load: load(Layers::Large, 1, 1),
        targets,
        shaped: true,
    }
}

const fn load(layers: Layers, streams: u32, repeat: u32) -> Load {
    Load {
        layers,
        streams,
        repeat,
    }
}

/// Names of the figures.
const METRICS: [&str; 4] = ["MB/s", "CPU-s/GiB", "of the hop here", "failed %"];

pub(super) fn run(options: &Options) -> Result<Vec<Table>> {
    let (stand, cases) = if options.tls {
        (Stand::secured()?, &TLS_CASES[..])
    } else {
        (Stand::start()?, &CASES[..])
    };
    let mut tables = Vec::new();
    for case in cases {
        let wanted = |part: &String| case.name.contains(part.as_str());
        if options.only.is_empty() || options.only.iter().any(wanted) {
            let table = compare(&stand, case, options.rounds);
            tables.push(table.with_context(|| case.name.to_owned())?);
        }
    }
    if let Some(table) = tables.last_mut() {
        for note in stand.memory() {
            table.note(note);
        }
        if options.tls {
            table.note("TLS: between the nodes, 1.3, AES-128-GCM, by both programs in user space; none in the kernel");
        }
        table.note("CPU: of all programs between file and reader; the hop here is the last one");
    }
    Ok(tables)
}

fn compare(stand: &Stand, case: &Case, rounds: u32) -> Result<Table> {
    crate::shell::say(case.name);
    let _shaped = case.shaped.then(|| stand.shape()).transpose()?;
    // The first transfer after a pause reads a cold cache, and none of the programs is to pay it.
    stand.warm()?;
    let mut sides: Vec<_> = case
        .targets
        .iter()
        .map(|target| {
            Side::new(target.name(), || {
                let Measured {
                    megabytes_per_second,
                    cpu,
                    hop,
                    failed,
                } = case.load.put(stand, *target)?;
                Ok([megabytes_per_second, cpu, hop, failed])
            })
        })
        .collect();
    Ok(Comparison::run(METRICS, rounds, &mut sides)?.table(case.name))
}
