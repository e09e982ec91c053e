//! What agents report of their peers and of themselves.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Holder;

/// Bytes between the reporting node and one peer since the reporter's last report.
///
/// Sums and no averages, so that the server can weigh them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The peer's address as the reporter's sockets see it.
    pub peer: IpAddr,
    /// The time that the sums cover, in milliseconds.
    pub interval_ms: u64,
    /// From the peer to the reporter.
    pub received: Flow,
    /// From the reporter to the peer.
    pub sent: Flow,
    /// Segments that the reporter sent again.
    #[serde(default)]
    pub retransmits: u64,
    /// The smoothed round-trip time in microseconds, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
}

/// One direction of an [`Observation`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Payload bytes, each counted once.
    pub bytes: u64,
    /// Those of transfers long enough to tell a rate.
    pub rated_bytes: u64,
    /// The time in which `rated_bytes` passed, in microseconds: the union over all connections.
    pub busy_us: u64,
}

/// A peer that did not deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The peer.
    pub peer: Holder,
    /// What happened.
    pub kind: FailureKind,
    /// How often since the last report.
    pub count: u32,
}

/// How a peer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The connection was refused.
    Refused,
    /// No connection within the dial deadline.
    Unreachable,
    /// No answer, or no progress, within its deadline.
    Stalled,
    /// The connection ended in the middle.
    Cut,
    /// It does not have what it advertised.
    Missing,
    /// All its upload slots are taken.
    Busy,
    /// The bytes do not have the digest.
    WrongBytes,
    /// The answer is no valid HTTP or contradicts the request.
    Protocol,
    /// It, or this node, did not show who it is.
    Identity,
    /// A kind that a newer agent reports.
    #[serde(other)]
    Other,
}

/// How busy a holder is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Uploads in flight.
    pub uploads: u32,
    /// Uploads that it takes at once.
    pub slots: u32,
}
