//! The topology file, the learned bandwidth and the ranking, through the program's own edge.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper of a test fails the test by it"
)]

mod commands;
mod learning;
mod outage;
mod popular;
mod program;
mod reload;
mod spread;
