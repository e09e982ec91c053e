//! `bench ranking`: what ranking the holders of one key costs.

use anyhow::Result;
use clap::Args;
use measure::{RankingCase, RankingOutcome, Task};

use super::programs::Measure;
use super::rounds::{Comparison, Side};
use super::table::Table;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// How often each case is measured.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// A find ranks the neighbours on either side, so about twice as many as it answers.
const CASES: [RankingCase; 5] = [
    case(200, false),
    case(200, true),
    case(20, false),
    case(2000, false),
    case(2000, true),
];

const fn case(holders: u32, declared: bool) -> RankingCase {
    RankingCase { holders, declared }
}

pub(super) fn run(options: &Options) -> Result<Vec<Table>> {
    let (measure, _) = Measure::build(&[])?;
    let mut sides: Vec<_> = CASES
        .iter()
        .map(|case| {
            Side::new(name(*case), || {
                let outcome: RankingOutcome = measure.run(&Task::Ranking(*case))?;
                Ok([outcome.microseconds])
            })
        })
        .collect();
    let comparison = Comparison::run(["µs for one find"], options.rounds, &mut sides)?;
    let mut table = comparison.table("Ranking the best 100 holders, 40 in a rack");
    table.note("±% is the round that is farthest from the median; ratios are to the first row.");
    Ok(vec![table])
}

fn name(case: RankingCase) -> String {
    let file = if case.declared {
        "with a topology file"
    } else {
        "no topology file"
    };
    format!("{} holders, {file}", case.holders)
}
