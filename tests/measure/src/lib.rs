//! What the benches need optimised: the data set that a server is filled with, the load that it is
//! put under, and short loops over libraries.
//!
//! `cargo xtask bench` builds the program with the release profile, starts it with a [`Task`] as
//! JSON, and reads the outcome from its standard output.

mod agents;
mod calls;
mod dataset;
mod joins;
mod load;
mod numbers;
pub mod process;
mod random;
mod ranking;
mod rows;
mod task;
mod zipf;

pub use agents::{AgentsOutcome, AgentsPlan, Phase};
pub use dataset::Dataset;
pub use joins::{JoinsOutcome, JoinsPlan};
pub use load::{LoadOutcome, LoadPlan, Workload};
pub use ranking::{RankingCase, RankingOutcome};
pub use rows::{Dialect, RowsPlan};
pub use task::Task;
