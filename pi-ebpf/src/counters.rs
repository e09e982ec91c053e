//! The counters of each peer.

use crate::word::Word;

/// One direction of one peer's traffic.
///
/// `bytes`, `rated_bytes`, `busy_ns` and `bursts` only ever grow, until the entry is deleted: one
/// that comes back starts at zero. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic<W = u64> {
    /// Payload received in order, or acknowledged by the peer; no duplicates, no SYN, no FIN.
    pub bytes: W,
    /// Bytes of bursts that are long enough to tell a rate.
    pub rated_bytes: W,
    /// The time `rated_bytes` took, in nanoseconds: the union over all the peer's connections.
    pub busy_ns: W,
    /// The number of such bursts.
    pub bursts: W,
    /// When such a burst last made progress.
    pub last_ns: W,
    /// Start of the last interval before `last_ns` that was taken for idle.
    pub gap_from_ns: W,
    /// Its end.
    pub gap_to_ns: W,
}

/// The counters of one peer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters<W = u64> {
    /// From the peer to this node.
    pub received: Traffic<W>,
    /// From this node to the peer.
    pub sent: Traffic<W>,
    /// Connections whose establishment was observed.
    pub opened: W,
    /// Connections that were already open when the program was attached.
    pub adopted: W,
    /// Connections that ended.
    pub closed: W,
    /// Retransmitted segments.
    pub retransmits: W,
    /// The smoothed round-trip time, microseconds, as last seen.
    pub srtt_us: W,
    /// The least round-trip time, microseconds, as the kernel's window filter last gave it.
    pub min_rtt_us: W,
}

impl Traffic {
    const ZERO: Self = Self {
        bytes: 0,
        rated_bytes: 0,
        busy_ns: 0,
        bursts: 0,
        last_ns: 0,
        gap_from_ns: 0,
        gap_to_ns: 0,
    };
}

impl Counters {
    /// A new peer's counters.
    pub const ZERO: Self = Self {
        received: Traffic::ZERO,
        sent: Traffic::ZERO,
        opened: 0,
        adopted: 0,
        closed: 0,
        retransmits: 0,
        srtt_us: 0,
        min_rtt_us: 0,
    };
}

impl<W: Word> Traffic<W> {
    /// The values of now.
    pub fn snapshot(&self) -> Traffic {
        Traffic {
            bytes: self.bytes.get(),
            rated_bytes: self.rated_bytes.get(),
            busy_ns: self.busy_ns.get(),
            bursts: self.bursts.get(),
            last_ns: self.last_ns.get(),
            gap_from_ns: self.gap_from_ns.get(),
            gap_to_ns: self.gap_to_ns.get(),
        }
    }
}

impl<W: Word> Counters<W> {
    /// The values of now.
    pub fn snapshot(&self) -> Counters {
        Counters {
            received: self.received.snapshot(),
            sent: self.sent.snapshot(),
            opened: self.opened.get(),
            adopted: self.adopted.get(),
            closed: self.closed.get(),
            retransmits: self.retransmits.get(),
            srtt_us: self.srtt_us.get(),
            min_rtt_us: self.min_rtt_us.get(),
        }
    }
}
