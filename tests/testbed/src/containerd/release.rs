//! The containerd releases that the tests run on.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;

use crate::{apt, cache};

/// A containerd release.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Release {
    /// The one installed on this machine; on Debian 12 that is 1.6.
    Installed,
    /// 1.7, from Debian trixie.
    V1_7,
    /// 2.1 or what has followed it, from Debian sid.
    V2,
}

impl Release {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Installed, Self::V1_7, Self::V2];

    /// Downloads the release if it is neither installed nor in the cache.
    ///
    /// # Errors
    ///
    /// When it cannot be downloaded.
    pub fn fetch(self) -> Result<()> {
        self.program().map(drop)
    }

    /// The program of this release, downloaded if need be. It runs from where it is unpacked; the
    /// system's packages stay as they are.
    pub(crate) fn program(self) -> Result<PathBuf> {
        let suite = match self {
            Self::Installed => return Ok(PathBuf::from("containerd")),
            Self::V1_7 => "trixie",
            Self::V2 => "sid",
        };
        let unpacked = cache::directory(&format!("containerd-{suite}"), |directory| {
            apt::unpack("containerd", suite, directory)
        })?;
        Ok(unpacked.join("usr/bin/containerd"))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Installed => "as installed here",
            Self::V1_7 => "1.7, from Debian trixie",
            Self::V2 => "2, from Debian sid",
        })
    }
}
