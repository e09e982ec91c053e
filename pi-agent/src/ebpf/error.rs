//! What keeps the kernel's accounting from working.

use std::{io, net::SocketAddr, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use super::{cgroup::CgroupError, mode::Reason};

/// The kernel's accounting is not available.
#[derive(Debug, thiserror::Error)]
pub enum AccountingError {
    /// The agent's own control group was not found.
    #[error("the agent's own control group was not found")]
    Cgroup(#[source] CgroupError),
    /// It could not be opened.
    #[error("opening the control group {}", path.display())]
    Open {
        /// The group.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the maps.
    #[error("loading the eBPF object")]
    Load(#[source] Box<EbpfError>),
    /// The kernel refused the program.
    #[error("loading the eBPF program")]
    Program(#[source] Box<ProgramError>),
    /// The kernel refused to attach it.
    #[error("attaching the eBPF program to {}", path.display())]
    Attach {
        /// The group.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: Box<ProgramError>,
    },
    /// The object lacks a part: it was built from another version.
    #[error("the eBPF object has no {0}")]
    Part(&'static str),
    /// A map could not be read.
    #[error("reading the eBPF map")]
    Read(#[source] Box<MapError>),
    /// The connection to ourselves failed.
    #[error("connecting to the agent's own peer port at {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection to ourselves was not counted.
    #[error("a connection to {address} was made but not counted")]
    NotCounted {
        /// Where.
        address: SocketAddr,
    },
    /// The kernel lacks callbacks that the program needs; Linux 5.10 has them.
    #[error("the kernel does not give the program all its callbacks; Linux 5.10 does")]
    Callbacks,
}

impl AccountingError {
    /// The reason in brief.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Cgroup(_) | Self::Open { .. } => Reason::Cgroup,
            Self::Connect { .. } | Self::NotCounted { .. } => Reason::SelfTest,
            _ if self.denied() => Reason::Rights,
            _ => Reason::Kernel,
        }
    }

    fn denied(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}
