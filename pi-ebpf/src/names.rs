//! What the object calls its parts.

/// The program, of type `sock_ops`.
pub const PROGRAM: &str = "account";

/// Hash map from [`PeerKey`](crate::PeerKey) to [`Counters`](crate::Counters).
pub const PEERS: &str = "PEERS";

/// Capacity of the map in peers, unless the loader sets another one.
pub const PEERS_CAPACITY: u32 = 16_384;

/// A [`Promise`](crate::Promise) in a socket's storage, which the agent puts there.
pub const PROMISES: &str = "PROMISES";

/// Array of counters, by [`Failure`].
pub const FAILURES: &str = "FAILURES";

/// `u32`: connections with this local or remote port are counted.
pub const PORT: &str = "PORT";

/// `u64`: [`Policy::think_ns`](crate::Policy::think_ns).
pub const THINK_NS: &str = "THINK_NS";

/// `u64`: [`Policy::stall_ns`](crate::Policy::stall_ns).
pub const STALL_NS: &str = "STALL_NS";

/// `u64`: [`Policy::min_burst`](crate::Policy::min_burst).
pub const MIN_BURST: &str = "MIN_BURST";

/// What the program could not do, as an index into [`FAILURES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The map of peers is full: a new peer's progress was not counted.
    PeersFull,
    /// No memory for a socket's storage: the connection is not counted.
    NoStorage,
    /// The kernel refused the callbacks. If it did so when the connection began, the connection is
    /// counted at its end at best.
    NoCallbacks,
    /// The header of an incoming FIN was out of reach: it is counted as one byte.
    NoHeader,
}

impl Failure {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 4] = [
        Self::PeersFull,
        Self::NoStorage,
        Self::NoCallbacks,
        Self::NoHeader,
    ];

    /// The index into [`FAILURES`].
    #[inline]
    pub const fn index(self) -> u32 {
        match self {
            Self::PeersFull => 0,
            Self::NoStorage => 1,
            Self::NoCallbacks => 2,
            Self::NoHeader => 3,
        }
    }

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PeersFull => "peers_full",
            Self::NoStorage => "no_storage",
            Self::NoCallbacks => "no_callbacks",
            Self::NoHeader => "no_header",
        }
    }
}
