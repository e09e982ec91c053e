//! Whether and how this node takes part in crowds.

use clap::Args;

use super::SwarmMode;

/// Flags of flash crowds.
#[derive(Debug, Clone, Copy, Args)]
pub struct Swarm {
    /// Whether nodes that pull the same layer at the same time take it from each other while it
    /// grows, as the server says, so that one of them asks the registry.
    #[arg(
        long = "swarm",
        env = "PI_AGENT_SWARM",
        value_name = "MODE",
        default_value = "on"
    )]
    pub mode: SwarmMode,
    /// Seconds from when the server names a source until that has sent its first byte; then the server is
    /// asked for another. A source that answers that it is busy is no such loss of time: for ten seconds
    /// the server is asked again, and then its budget for the registry decides.
    #[arg(
        long,
        env = "PI_AGENT_SWARM_WAIT",
        value_name = "SECONDS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(1..=60)
    )]
    pub swarm_wait: u64,
}
