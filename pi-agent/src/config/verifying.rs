//! What is checked of the bytes that peers send.

use clap::Args;

use super::VerifyMode;
use crate::fetch::LazyRanges;

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
    /// Gives parts of large layers from peers to a client that is not pulling the layer through
    /// containerd: a snapshotter that fetches layers piece by piece (stargz, SOCI, Nydus). They are not checked
    /// here; the client has to. Off, such parts are left to the registry.
    #[arg(long, env = "PI_AGENT_LAZY_RANGES")]
    pub lazy_ranges: bool,
}

impl Verifying {
    /// What becomes of parts that nobody checks here.
    pub fn lazy_ranges(&self) -> LazyRanges {
        if self.lazy_ranges {
            LazyRanges::Give
        } else {
            LazyRanges::Refuse
        }
    }
}
