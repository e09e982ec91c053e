//! What the operator asks for.

use clap::ValueEnum;

/// How the bytes of each peer are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Choice {
    /// eBPF where the kernel and the rights allow it, otherwise TCP_INFO.
    #[default]
    Auto,
    /// eBPF, or the agent does not start.
    Ebpf,
    /// The kernel's counters of the agent's own sockets.
    TcpInfo,
    /// Nothing is counted.
    Off,
}
