//! The architectures that programs are built for, by their many names.

use anyhow::{Context as _, Result};

/// An architecture that is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    /// 64-bit Intel and AMD.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    #[value(name = "aarch64")]
    Aarch64,
}

impl Arch {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// As `uname -m` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As the OCI names it.
    pub(crate) fn oci(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// As Rust names it, with the C library that is linked in.
    pub(crate) fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }

    /// The one this program runs on.
    pub(crate) fn native() -> Result<Self> {
        let native = [Self::X86_64, Self::Aarch64]
            .into_iter()
            .find(|arch| arch.is_native());
        native.context("programs are built for x86_64 and aarch64 only")
    }

    pub(super) fn is_native(self) -> bool {
        std::env::consts::ARCH == self.name()
    }
}
