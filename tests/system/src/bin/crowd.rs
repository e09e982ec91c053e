//! Lets crowds pull on a bed and says what was found, as one line of JSON: `cargo xtask bench crowd`
//! runs it.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use clap::Parser;
use system_tests::crowd::{
    cases::{Bench, PULLERS},
    faults,
};
use testbed::Release;

/// Lets crowds pull on a bed.
#[derive(Debug, Parser)]
struct Cli {
    /// Which crowd is measured.
    #[arg(long, default_value = "cold")]
    case: String,
    /// The containerd, by its number: 1.6, 1.7, 2.1, and 2.1 that fetches by ranges.
    #[arg(long, default_value_t = 1)]
    puller: usize,
    /// How many nodes each rack has.
    #[arg(long, value_delimiter = ',', default_values_t = [4, 4, 4])]
    racks: Vec<u8>,
    /// Runs this number of crowds with faults instead.
    #[arg(long)]
    faults: Option<u32>,
    /// The first one's seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let found = if let Some(runs) = cli.faults {
        serde_json::to_string(&faults::run(Release::V1_7, cli.seed, runs)?)?
    } else {
        let puller = *PULLERS.get(cli.puller).context("there are four pullers")?;
        let bench = Bench {
            case: &cli.case,
            puller,
            racks: &cli.racks,
        };
        serde_json::to_string(&bench.run()?)?
    };
    writeln!(io::stdout(), "{found}")?;
    Ok(())
}
