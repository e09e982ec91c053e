//! What passed between two looks at the counters.

use pi_ebpf::{Counters, Traffic};
use serde::{Deserialize, Serialize};

/// What passed in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowSums {
    /// Payload bytes, each counted once.
    pub bytes: u64,
    /// Those of bursts long enough to tell a rate by.
    pub rated_bytes: u64,
    /// The time in which `rated_bytes` passed, nanoseconds: the union over all connections.
    pub busy_ns: u64,
    /// The number of such bursts.
    pub bursts: u64,
}

/// What passed between this node and one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) received: FlowSums,
    pub(crate) sent: FlowSums,
    pub(crate) opened: u64,
    pub(crate) adopted: u64,
    pub(crate) closed: u64,
    pub(crate) retransmits: u64,
}

impl FlowSums {
    /// Bytes per second while busy, if there was a burst.
    pub fn throughput(&self) -> Option<u64> {
        let bytes = u128::from(self.rated_bytes) * 1_000_000_000;
        let rate = bytes.checked_div(u128::from(self.busy_ns))?;
        u64::try_from(rate).ok().filter(|_| self.rated_bytes != 0)
    }

    fn add(&mut self, more: &Self) {
        self.bytes += more.bytes;
        self.rated_bytes += more.rated_bytes;
        self.busy_ns += more.busy_ns;
        self.bursts += more.bursts;
    }
}

impl From<&Traffic> for FlowSums {
    fn from(traffic: &Traffic) -> Self {
        Self {
            bytes: traffic.bytes,
            rated_bytes: traffic.rated_bytes,
            busy_ns: traffic.busy_ns,
            bursts: traffic.bursts,
        }
    }
}

impl From<&Counters> for Sums {
    fn from(counters: &Counters) -> Self {
        Self {
            received: (&counters.received).into(),
            sent: (&counters.sent).into(),
            opened: counters.opened,
            adopted: counters.adopted,
            closed: counters.closed,
            retransmits: counters.retransmits,
        }
    }
}

impl Sums {
    /// From `earlier` to `self`. Counters that went back began anew at zero: all of them, since the
    /// entry was deleted and came back.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        self.checked_since(earlier).unwrap_or(*self)
    }

    fn checked_since(&self, earlier: &Self) -> Option<Self> {
        let flow = |now: &FlowSums, then: &FlowSums| {
            Some(FlowSums {
                bytes: now.bytes.checked_sub(then.bytes)?,
                rated_bytes: now.rated_bytes.checked_sub(then.rated_bytes)?,
                busy_ns: now.busy_ns.checked_sub(then.busy_ns)?,
                bursts: now.bursts.checked_sub(then.bursts)?,
            })
        };
        Some(Self {
            received: flow(&self.received, &earlier.received)?,
            sent: flow(&self.sent, &earlier.sent)?,
            opened: self.opened.checked_sub(earlier.opened)?,
            adopted: self.adopted.checked_sub(earlier.adopted)?,
            closed: self.closed.checked_sub(earlier.closed)?,
            retransmits: self.retransmits.checked_sub(earlier.retransmits)?,
        })
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.received.add(&more.received);
        self.sent.add(&more.sent);
        self.opened += more.opened;
        self.adopted += more.adopted;
        self.closed += more.closed;
        self.retransmits += more.retransmits;
    }

    pub(crate) fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Bytes both ways.
    pub(crate) fn bytes(&self) -> u64 {
        self.received.bytes + self.sent.bytes
    }
}
