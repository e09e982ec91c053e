//! Builds a bed, says what it is called, and waits to be ended: how the tests of the clean-up see a
//! program die in the middle of its work.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use testbed::{Bed, BedSetup, Plan, Release, Run};

fn main() -> Result<()> {
    let run = Run::start()?;
    run.end_on_signals()?;
    let setup = BedSetup {
        plan: Plan::unshaped(&[1]),
        release: Release::Installed,
    };
    let bed = Bed::start(run, &setup)?;
    writeln!(io::stdout(), "{}", bed.run().name())?;
    thread::sleep(Duration::from_hours(1));
    Ok(())
}
