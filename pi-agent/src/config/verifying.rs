//! What is checked of the bytes that peers send.

use clap::Args;

use super::VerifyMode;

/// Which bytes are checked, and with how much memory.
#[derive(Debug, Clone, Args)]
pub struct Verifying {
    /// Which bytes are checked before containerd sees them. What other nodes are still getting is
    /// checked chunk by chunk besides, whatever this says.
    #[arg(
        long,
        env = "PI_AGENT_VERIFY",
        value_name = "MODE",
        default_value = "auto"
    )]
    pub verify: VerifyMode,
    /// Bytes of memory in which large layers are checked whole before containerd gets the first byte,
    /// where `verify` wants that and no node has the digests of their chunks. A layer for which this is
    /// too little is left to the registry.
    #[arg(
        long,
        env = "PI_AGENT_VERIFY_MEMORY",
        value_name = "BYTES",
        default_value_t = crate::fetch::VERIFY_MEMORY
    )]
    pub verify_memory: u64,
}
