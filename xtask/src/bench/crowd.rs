//! `bench crowd`: nodes that pull at once an image that no node has, as ratios to one node's pull on the same
//! bed; or with faults in the middle.

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::programs;
use super::table::{Cell, Table};
use crate::setup::{self, BUILD, DEMO};
use crate::shell;

/// containerd as the program of the system tests numbers it.
const PULLERS: [&str; 4] = ["1.6", "1.7", "2.1", "2.1-ranges"];
const CASES: [&str; 9] = [
    "cold",
    "layers",
    "nic",
    "nic-striped",
    "arrivals",
    "warm",
    "few",
    "pair",
    "alone",
];

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The crowds: cold (nobody has it, one layer), layers (six), nic (the nodes' links bind),
    /// nic-striped (the same, and gateways take from two nodes of another rack),
    /// arrivals (spread over the pull's length), warm (one holder), few and pair (three and one
    /// that ask a holder), alone (one node).
    #[arg(long, value_delimiter = ',', default_values = CASES, value_parser = CASES)]
    case: Vec<String>,
    /// The containerd of the nodes.
    #[arg(long, value_delimiter = ',', default_values = ["1.7"], value_parser = PULLERS)]
    containerd: Vec<String>,
    /// How many nodes each rack has.
    #[arg(long, value_delimiter = ',', default_values_t = [4, 4, 4])]
    racks: Vec<u8>,
    /// How often each crowd pulls; the row is the median's.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Runs this number of crowds instead, each with faults by a plan of its own.
    #[arg(long)]
    faults: Option<u32>,
    /// The seed of the first plan; the next ones follow.
    #[arg(long, default_value_t = 1, requires = "faults")]
    seed: u64,
}

/// What a crowd came to, as the program says it.
#[derive(Debug, Deserialize)]
struct Row {
    registry_copies: f64,
    copies_into_rack: f64,
    p50_of_reference: f64,
    longest_over_p50: f64,
    reference_seconds: f64,
}

/// What crowds with faults came to.
#[derive(Debug, Deserialize)]
struct Found {
    runs: u32,
    faults: BTreeMap<String, u32>,
    pulls: u32,
    most_copies: f64,
    longest: f64,
    alone: BTreeMap<String, Alone>,
}

/// What a kind of fault cost where it was the only one of its run, at most.
#[derive(Debug, Deserialize)]
struct Alone {
    runs: u32,
    copies: f64,
    times: f64,
}

const PROGRAMS: [(&str, &str); 3] = [
    ("pi-agent", "pi-agent"),
    ("piccolo-server", "piccolo-server"),
    ("system-tests", "crowd"),
];

pub(super) fn run(options: &Options) -> Result<Vec<Table>> {
    setup::packages(&[BUILD, DEMO])?;
    let program = programs::release_of(&PROGRAMS)?.join("crowd");
    let say = |arguments: &[String]| -> Result<String> {
        shell::output(std::process::Command::new(&program).args(arguments))
    };
    if let Some(runs) = options.faults {
        let arguments = [
            format!("--faults={runs}"),
            format!("--seed={}", options.seed),
        ];
        let found: Found = serde_json::from_str(&say(&arguments)?).context("what it found")?;
        return Ok(vec![faults(&found), alone(&found)]);
    }
    let racks: Vec<_> = options.racks.iter().map(u8::to_string).collect();
    let mut tables = Vec::new();
    for name in &options.containerd {
        let puller = PULLERS.iter().position(|known| known == name);
        let puller = puller.context("the parser lets no other through")?;
        let mut table = Table::new(
            format!(
                "{} nodes in racks of {}, containerd {name}",
                options.nodes(),
                racks.join(", ")
            ),
            [
                "",
                "registry copies",
                "into a rack",
                "p50 of reference",
                "longest / p50",
                "reference s",
            ],
        );
        for case in &options.case {
            let arguments = [
                format!("--case={case}"),
                format!("--puller={puller}"),
                format!("--racks={}", racks.join(",")),
            ];
            let mut rows: Vec<Row> = Vec::new();
            for _ in 0..options.rounds.max(1) {
                rows.push(serde_json::from_str(&say(&arguments)?).context("what it found")?);
            }
            table.row(median(case, &rows));
        }
        table.note(
            "reference: one node alone from the idle registry; warm: one pull from the holder; few, \
             pair: the same with --swarm off; alone: without Piccolo. 1 is as fast, above is faster.",
        );
        tables.push(table);
    }
    Ok(tables)
}

impl Options {
    fn nodes(&self) -> u32 {
        self.racks.iter().copied().map(u32::from).sum()
    }
}

/// Each figure's median.
fn median(case: &str, rows: &[Row]) -> Vec<Cell> {
    let of = |figure: fn(&Row) -> f64| -> Cell {
        let mut figures: Vec<_> = rows.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures
            .get(figures.len() / 2)
            .copied()
            .unwrap_or(0.0)
            .into()
    };
    vec![
        Cell::from(case),
        of(|row| row.registry_copies),
        of(|row| row.copies_into_rack),
        of(|row| row.p50_of_reference),
        of(|row| row.longest_over_p50),
        of(|row| row.reference_seconds),
    ]
}

/// What each kind of fault cost at most, by whether it struck a node that the registry served.
fn alone(found: &Found) -> Table {
    let mut table = Table::new(
        "faults that were alone",
        ["", "crowds", "registry copies", "longest of the others"],
    );
    for (fault, alone) in &found.alone {
        table.row([
            Cell::from(fault.as_str()),
            f64::from(alone.runs).into(),
            alone.copies.into(),
            alone.times.into(),
        ]);
    }
    table.note("longest of the others: of the pulls that were not struck, times that of a crowd without a fault");
    table
}

fn faults(found: &Found) -> Table {
    let mut table = Table::new("crowds with faults", ["", "how many"]);
    for (fault, count) in &found.faults {
        table.row([Cell::from(fault.as_str()), f64::from(*count).into()]);
    }
    table.note(format!(
        "{} crowds of six nodes, {} pulls, none failed; at most {:.2} copies from the registry in \
         one; the longest pull took {:.1} s",
        found.runs, found.pulls, found.most_copies, found.longest
    ));
    table
}
