//! Views of the counters: the table of peers, and the reports to the server.

use std::{net::IpAddr, time::Duration};

use piccolo_api::{Flow, Observation};
use serde::{Deserialize, Serialize};

use super::sums::FlowSums;

/// One peer, for `status` and `peers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its address.
    pub address: IpAddr,
    /// From the peer.
    pub received: FlowView,
    /// To the peer.
    pub sent: FlowView,
    /// Segments sent again.
    pub retransmits: u64,
    /// Connections opened, either way.
    pub opened: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Smoothed round-trip time, microseconds, once known.
    pub rtt_us: Option<u64>,
    /// Least round-trip time, microseconds, once known.
    pub min_rtt_us: Option<u64>,
}

/// One direction of a [`PeerView`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowView {
    /// Bytes since the agent started.
    pub bytes: u64,
    /// Bytes per second between the last two looks, half a second apart or more, idle time included.
    pub rate: u64,
    /// Bytes per second while busy, when there last was a burst.
    pub throughput: Option<u64>,
}

/// What went between this node and one peer since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerReport {
    /// The peer.
    pub peer: IpAddr,
    /// The time that the sums cover.
    pub interval: Duration,
    /// From the peer.
    pub received: FlowSums,
    /// To the peer.
    pub sent: FlowSums,
    /// Segments sent again.
    pub retransmits: u64,
    /// Smoothed round-trip time, microseconds, once known.
    pub rtt_us: Option<u64>,
}

impl From<&PeerReport> for Observation {
    fn from(report: &PeerReport) -> Self {
        let flow = |sums: &FlowSums| Flow {
            bytes: sums.bytes,
            rated_bytes: sums.rated_bytes,
            busy_us: sums.busy_ns.div_ceil(1000),
        };
        Self {
            peer: report.peer,
            interval_ms: u64::try_from(report.interval.as_millis()).unwrap_or(u64::MAX),
            received: flow(&report.received),
            sent: flow(&report.sent),
            retransmits: report.retransmits,
            rtt_us: report.rtt_us,
        }
    }
}
