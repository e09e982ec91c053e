//! `bench soak`: many pulls with a fault in each. None may fail, and nothing may be left behind.

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Deserialize;

use super::programs;
use super::table::{Cell, Table};
use crate::setup::{self, BUILD, DEMO};
use crate::shell;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// How many pulls.
    #[arg(long, default_value_t = 500)]
    pulls: u32,
}

/// What the soak says at its end.
#[derive(Debug, Deserialize)]
struct Soak {
    pulls: u32,
    faults: u32,
    retried: u32,
    undisturbed_seconds: f64,
    median_seconds: f64,
    longest_seconds: f64,
    before: Vec<Usage>,
    after: Vec<Usage>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    descriptors: u32,
    resident: u32,
}

const PROGRAMS: [(&str, &str); 4] = [
    ("pi-agent", "pi-agent"),
    ("piccolo-server", "piccolo-server"),
    ("system-tests", "fault-peer"),
    ("system-tests", "soak"),
];

pub(super) fn run(options: &Options) -> Result<Vec<Table>> {
    setup::packages(&[BUILD, DEMO])?;
    let directory = programs::release_of(&PROGRAMS)?;
    let mut soak = std::process::Command::new(directory.join("soak"));
    let said = shell::output(soak.arg(format!("--pulls={}", options.pulls)))?;
    let soak: Soak = serde_json::from_str(&said).context("what the soak says")?;
    let mut pulls = Table::new(
        "pulls of a 12 MiB layer with a second holder at hand",
        ["", "seconds"],
    );
    pulls.row([
        Cell::from("without a fault"),
        soak.undisturbed_seconds.into(),
    ]);
    pulls.row([Cell::from("with one, median"), soak.median_seconds.into()]);
    pulls.row([Cell::from("with one, longest"), soak.longest_seconds.into()]);
    pulls.note(format!(
        "{} pulls, none failed; {} faults happened; {} pulls were tried again after wrong bytes",
        soak.pulls, soak.faults, soak.retried
    ));
    let mut usage = Table::new("before and after", ["", "before", "after"]);
    let agents = soak.before.iter().zip(&soak.after);
    for (name, (before, after)) in ["puller", "holder"].iter().zip(agents) {
        usage.row([
            Cell::from(format!("descriptors, {name}'s agent")),
            f64::from(before.descriptors).into(),
            f64::from(after.descriptors).into(),
        ]);
        let megabytes = |bytes: u32| Cell::from(f64::from(bytes) / 1e6);
        usage.row([
            Cell::from(format!("RSS MB, {name}'s agent")),
            megabytes(before.resident),
            megabytes(after.resident),
        ]);
    }
    Ok(vec![pulls, usage])
}
