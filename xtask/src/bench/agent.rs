//! `bench agent`: what an agent answers to requests for manifests, and what it takes at rest.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use super::datapath::{
    images::{self, Bytes},
    stand::{Stand, Target, megabytes},
};
use super::process;
use super::rounds::{Comparison, Side};
use super::table::{Cell, Table};
use crate::shell::{self, say};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// How often requests are measured.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How long requests are made in each round, in seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// How long the agent is watched at rest, in seconds.
    #[arg(long, default_value_t = 30)]
    rest: u32,
}

/// Images that the agent has at rest, at first and later.
const IMAGES: [usize; 2] = [4, 400];
/// The agent has told the server of all images after this.
const TOLD: Duration = Duration::from_secs(10);

pub(super) fn run(options: &Options) -> Result<Vec<Table>> {
    let stand = Stand::start()?;
    let mut rest = Table::new("at rest", ["", "RSS MB", "peak MB", "CPU %"]);
    // Two images are on the stand from the beginning.
    let mut there = 2;
    for images in IMAGES {
        let layer = |number: usize| -> Result<Vec<Bytes>> {
            let number = 1000 + u64::try_from(number)?;
            Ok((0..4)
                .map(|part| Bytes {
                    number: number * 4 + part,
                    kibibytes: 4,
                })
                .collect())
        };
        let new = (there..images).map(layer).collect::<Result<Vec<_>>>()?;
        images::import(&stand.containerd()?.socket(), there, &new)?;
        there = images;
        thread::sleep(TOLD);
        say(&format!("at rest with {images} images"));
        rest.row(at_rest(&stand, images, options.rest)?);
    }
    let manifests = manifests(&stand, options)?;
    Ok(vec![manifests, rest])
}

fn at_rest(stand: &Stand, images: usize, seconds: u32) -> Result<[Cell; 4]> {
    let before = stand.cpu(Target::Peer)?;
    thread::sleep(Duration::from_secs(seconds.into()));
    let cpu = stand.cpu(Target::Peer)?.saturating_sub(before);
    let memory = process::resident(stand.agent().id());
    Ok([
        format!("{images} images").into(),
        megabytes(memory.now).into(),
        megabytes(memory.peak).into(),
        (cpu.as_secs_f64() * 100.0 / f64::from(seconds)).into(),
    ])
}

/// Requests for one manifest that the node has, from the node itself.
fn manifests(stand: &Stand, options: &Options) -> Result<Table> {
    let digest = stand.manifest().context("there is no manifest")?;
    let path = format!("/v2/bench/layers/manifests/{digest}?ns=registry.test");
    let mut sides: Vec<_> = [Target::Nginx, Target::Own]
        .map(|target| {
            let url = format!("http://{}{path}", stand.address(target));
            Side::new(target.name(), move || ask(stand, &url, options.seconds))
        })
        .into();
    let metrics = ["req/s", "p99 ms"];
    let comparison = Comparison::run(metrics, options.rounds, &mut sides)?;
    Ok(comparison.table("one manifest, 16 connections"))
}

fn ask(stand: &Stand, url: &str, seconds: u32) -> Result<[f64; 2]> {
    let mut wrk = stand.holder("wrk")?;
    wrk.args(["--threads=1", "--connections=16", "--latency"])
        .arg(format!("--duration={seconds}s"))
        .arg(url);
    let said = shell::output(&mut wrk)?;
    let rate = number(&said, "Requests/sec:").and_then(|number| number.parse().ok());
    let late = number(&said, "99%").and_then(milliseconds);
    let refused = number(&said, "Non-2xx");
    rate.zip(late)
        .filter(|_| refused.is_none())
        .map(|(rate, late)| [rate, late])
        .with_context(|| format!("wrk says: {said}"))
}

/// The word after a name.
fn number<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(name))?;
    line.split_whitespace().next()
}

/// wrk writes `321.00us`, `1.23ms` or `1.02s`.
fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    let (digits, unit) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(digits.parse::<f64>().ok()? * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_understood() {
        let said = "  Latency Distribution\n     99%  321.00us\nRequests/sec:  40000.12\n";
        assert_eq!(number(said, "Requests/sec:"), Some("40000.12"));
        assert_eq!(number(said, "99%").and_then(milliseconds), Some(0.321));
        assert_eq!(milliseconds("1.5s"), Some(1500.0));
    }
}
