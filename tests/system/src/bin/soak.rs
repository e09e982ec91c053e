//! Pulls many times with a fault in each and says what was found, as one line of JSON:
//! `cargo xtask bench soak` runs it.

use std::io::{self, Write as _};

use anyhow::Result;
use clap::Parser;
use system_tests::faults::soak;
use testbed::Release;

/// Pulls many times with a fault in each.
#[derive(Debug, Parser)]
struct Cli {
    /// How many times.
    #[arg(long, default_value_t = 500)]
    pulls: u32,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let found = soak::run(Release::V2, cli.pulls)?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&found)?)?;
    Ok(())
}
