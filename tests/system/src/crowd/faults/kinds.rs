//! What can go wrong, and what that may cost.

use std::time::Duration;

use serde::Serialize;
use testbed::Refusal;

/// How long a fault lasts that ends by itself.
const LASTS: Duration = Duration::from_secs(3);
/// The same of a rack's uplink.
const UPLINK: Duration = Duration::from_secs(5);
/// How long a byte on a disk is wrong: containerd is to unpack what it verified.
const DAMAGED: Duration = Duration::from_secs(1);
/// How soon a killed program is started again.
const RESTART: Duration = Duration::from_secs(1);
/// Seconds by which a fault may delay those that it does not strike, once it has ended.
const DELAY: f64 = 10.0;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Serialize)]
pub enum Fault {
    /// A node's agent is killed, and started again.
    AgentKilled,
    /// A node's agent halts for a while.
    AgentHalts,
    /// A node's containerd is killed, and started again.
    ContainerdKilled,
    /// A node's link is dead for a while.
    LinkDown,
    /// A node's link has a tenth of its rate for a while.
    LinkSlow,
    /// A rack's uplink is dead for a while.
    UplinkDown,
    /// A node cannot reach the registry for a while.
    RegistryHidden,
    /// The server is killed, and started again.
    ServerKilled,
    /// The server halts for a while.
    ServerHalts,
    /// The registry wants a password from a node (401) for a while.
    RegistryDenies,
    /// It serves it nothing (403).
    RegistryForbids,
    /// It has had too many requests from it (429).
    RegistryLimits,
    /// It cannot serve it now (503).
    RegistryFails,
    /// It serves it slowly.
    RegistrySlow,
    /// It sends it no byte more, and is alive.
    RegistrySilent,
    /// A node's disk is full for a while.
    DiskFull,
    /// Bytes on a node's disk are not those that containerd wrote.
    WrongByte,
    /// A node is gone with all that runs on it, and comes back.
    NodeGone,
    /// The server's database does not answer for a while.
    DatabaseAway,
}

pub(super) const ALL: [Fault; 19] = [
    Fault::AgentKilled,
    Fault::RegistryDenies,
    Fault::ServerKilled,
    Fault::DiskFull,
    Fault::AgentHalts,
    Fault::RegistryFails,
    Fault::LinkSlow,
    Fault::WrongByte,
    Fault::NodeGone,
    Fault::RegistrySlow,
    Fault::DatabaseAway,
    Fault::ContainerdKilled,
    Fault::UplinkDown,
    Fault::RegistryForbids,
    Fault::LinkDown,
    Fault::RegistrySilent,
    Fault::ServerHalts,
    Fault::RegistryLimits,
    Fault::RegistryHidden,
];

/// What is broken by a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// The server, or its database: it does not start without that.
    Server,
    Rack(u8),
    Node(usize),
}

impl Fault {
    /// Copies that it may cost, by whether the registry served its victim. While a first fetcher that halts or is cut off goes on, another node
    /// asks the registry. Without the server one node of each rack may; each of a rack that is cut off asks
    /// for itself until it has noticed that the server is away.
    pub(super) fn costs(self, asked: bool) -> f64 {
        match self {
            Self::ServerKilled | Self::ServerHalts => 2.0,
            Self::UplinkDown => 3.0,
            _ if asked => 1.0,
            _ => 0.0,
        }
    }

    pub(super) fn lasts(self) -> Duration {
        match self {
            Self::AgentKilled | Self::ContainerdKilled | Self::ServerKilled => RESTART,
            Self::WrongByte => DAMAGED,
            Self::UplinkDown => UPLINK,
            _ => LASTS,
        }
    }

    /// Seconds by which it may delay those that it does not strike.
    pub(super) fn delays(self) -> f64 {
        match self.refusal() {
            // Another node asks at once.
            Some(_) => DELAY,
            None => DELAY + self.lasts().as_secs_f64(),
        }
    }

    /// What the registry has against its victim.
    pub(super) fn refusal(self) -> Option<Refusal> {
        Some(match self {
            Self::RegistryDenies => Refusal::Status(401),
            Self::RegistryForbids => Refusal::Status(403),
            Self::RegistryLimits => Refusal::Status(429),
            Self::RegistryFails => Refusal::Status(503),
            Self::RegistrySlow => Refusal::Slow,
            Self::RegistrySilent => Refusal::Silent,
            _ => return None,
        })
    }

    /// Whether its victim's pull would fail without Piccolo too.
    pub(super) fn may_fail_pull(self) -> bool {
        matches!(
            self,
            Self::ContainerdKilled
                | Self::NodeGone
                | Self::DiskFull
                | Self::RegistryHidden
                // It may unpack the bytes meanwhile.
                | Self::WrongByte
        ) || matches!(self.refusal(), Some(Refusal::Status(_)))
    }
}
