//! Timeouts of peers, and how much they are trusted.

use std::time::Duration;

use daemon::tls::Agents;

use crate::{
    datapath::{RATE_FLOOR, RateFloor},
    here::Here,
    reach::Reach,
};

/// The time over which a rate is judged, so that silence is noticed after as long.
const WINDOW: Duration = Duration::from_secs(2);

/// The default of [`FetchSettings::verify_memory`].
pub const VERIFY_MEMORY: u64 = 64 << 20;

/// Deadlines and trust.
#[derive(Debug, Clone)]
pub struct FetchSettings {
    /// Where peers reach this node, which is never asked.
    pub here: Here,
    /// Where other nodes may be.
    pub reach: Reach,
    /// How peers show who they are.
    pub agents: Agents,
    /// Connect timeout.
    pub dial: Duration,
    /// Deadline of a peer from the request to the end of its head.
    pub first_byte: Duration,
    /// Deadline for finding peers, after which the object counts as not found.
    pub open: Duration,
    /// Deadlines of a small object, besides the time for its bytes: for the exchange, and for room
    /// in memory.
    pub small: Duration,
    /// The least rate of a body.
    pub floor: RateFloor,
    /// How long containerd may read nothing.
    pub patience: Duration,
    /// Which transfers are hashed.
    pub verify: Verify,
    /// What becomes of parts of large objects that nobody checks on this node.
    pub lazy_ranges: LazyRanges,
    /// Bytes of memory for large objects that are verified whole before any of their bytes is passed on.
    pub verify_memory: u64,
    /// Whether this node takes part in crowds.
    pub swarm: Swarm,
    /// How long a source in a crowd may take to its first byte, from the server's answer on.
    pub swarm_wait: Duration,
    /// How long a node is without a byte, since all sources are busy, before the server's budget for the
    /// registry decides. A moment later it goes there by itself.
    pub swarm_busy: Duration,
}

/// Whether nodes that fetch the same blob at the same time fetch it from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swarm {
    /// They do, directed by the server.
    On,
    /// This one does not.
    Off,
}

/// Which large objects are checked besides by containerd. Small ones always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// What comes with the digests of its chunks is checked by them. Suspect ones as with `Always`; all
    /// are hashed on their way where containerd's verdict cannot be watched.
    Auto,
    /// All, before any of their bytes is passed on.
    Always,
    /// None.
    Small,
}

/// What becomes of a part of a large object that no pull of containerd's is for, so that nobody checks it on
/// this node but who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LazyRanges {
    /// It is left to the registry.
    Refuse,
    /// Peers give it: who asks for parts checks them.
    Give,
}

impl FetchSettings {
    /// A floor in bytes per second; 0 only requires that some byte arrives.
    pub fn floor(rate: u64) -> RateFloor {
        RateFloor {
            bytes: rate.saturating_mul(WINDOW.as_secs()).max(1),
            window: WINDOW,
        }
    }
}

impl Default for FetchSettings {
    fn default() -> Self {
        Self {
            here: Here::default(),
            reach: Reach::default(),
            agents: Agents::default(),
            dial: Duration::from_millis(300),
            first_byte: Duration::from_secs(2),
            open: Duration::from_secs(6),
            small: Duration::from_secs(3),
            floor: Self::floor(RATE_FLOOR),
            patience: Duration::from_mins(2),
            verify: Verify::Auto,
            lazy_ranges: LazyRanges::Refuse,
            verify_memory: VERIFY_MEMORY,
            swarm: Swarm::Off,
            swarm_wait: Duration::from_secs(2),
            swarm_busy: Duration::from_secs(10),
        }
    }
}
