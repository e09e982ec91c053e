//! Settings that are one of a few words.

use clap::ValueEnum;

use crate::fetch::{Swarm, Verify};

/// Which bytes are checked before containerd sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerifyMode {
    /// Small objects, chunks with digests, and layers of which some peer sent wrong bytes. Where
    /// containerd's verdict cannot be watched, as where its directory cannot be read, a layer is hashed on
    /// its way, and a request for a part of it goes to the registry.
    Auto,
    /// Every object: containerd gets no byte that was not checked.
    Always,
    /// Small objects only.
    Small,
}

/// Whether this node takes part in crowds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SwarmMode {
    /// It does.
    On,
    /// It takes from nodes that have all of a layer, and from the registry.
    Off,
}

impl From<SwarmMode> for Swarm {
    fn from(mode: SwarmMode) -> Self {
        match mode {
            SwarmMode::On => Self::On,
            SwarmMode::Off => Self::Off,
        }
    }
}

impl From<VerifyMode> for Verify {
    fn from(mode: VerifyMode) -> Self {
        match mode {
            VerifyMode::Auto => Self::Auto,
            VerifyMode::Always => Self::Always,
            VerifyMode::Small => Self::Small,
        }
    }
}
