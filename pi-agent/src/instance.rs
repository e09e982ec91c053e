//! Identifies the process that answers at the mirror's address.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    str::FromStr,
};

/// The field of the mirror's answer to `/v2/` that names the process.
pub const FIELD: &str = "Piccolo-Instance";

/// One run of the agent: no two have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    nonce: u64,
    process: u32,
}

/// A text that names no instance.
#[derive(Debug, thiserror::Error)]
#[error("it names no instance of the agent")]
pub struct InstanceError;

impl Instance {
    /// This process.
    pub fn this() -> Self {
        Self {
            nonce: RandomState::new().hash_one("instance"),
            process: std::process::id(),
        }
    }

    /// The process's id, as its own namespace counts.
    pub fn process(self) -> u32 {
        self.process
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.nonce, self.process)
    }
}

impl FromStr for Instance {
    type Err = InstanceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (nonce, process) = text.split_once('-')?;
            Some(Self {
                nonce: u64::from_str_radix(nonce, 16).ok()?,
                process: process.parse().ok()?,
            })
        };
        read().ok_or(InstanceError)
    }
}
