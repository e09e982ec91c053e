//! What is in force, and why: for the log, `status`, `doctor` and a metric.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How peers are counted at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mode {
    /// The way.
    pub in_force: InForce,
    /// Why this way.
    pub reason: Reason,
    /// The reason in a sentence, with its causes.
    pub detail: String,
}

/// A way to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InForce {
    /// The eBPF program, exact and with busy time.
    Ebpf,
    /// `TCP_INFO` of the agent's own sockets.
    TcpInfo,
    /// Not at all.
    Off,
}

/// Why a way is in force. Bounded, so that it can be a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The settings name it.
    Asked,
    /// It is the best there is, and it works.
    Best,
    /// The agent's own control group was not found.
    Cgroup,
    /// The kernel denied it: a capability is missing.
    Rights,
    /// The kernel is too old for it, or refused the program.
    Kernel,
    /// It was in place, but a connection to ourselves was not counted.
    SelfTest,
}

impl InForce {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ebpf, Self::TcpInfo, Self::Off];

    /// The name in settings, metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::TcpInfo => "tcp-info",
            Self::Off => "off",
        }
    }
}

impl Reason {
    /// The name in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Best => "best",
            Self::Cgroup => "cgroup",
            Self::Rights => "rights",
            Self::Kernel => "kernel",
            Self::SelfTest => "self-test",
        }
    }
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.in_force, self.detail)
    }
}
