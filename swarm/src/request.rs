//! Requests of nodes: joins, progress, and reports of failed sources.

use serde::Serialize;

use crate::{Rack, Rank, Registry, Zone};

/// Where a node is, as the caller knows it; never as the node claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NodePlace {
    pub rack: Rack,
    pub zone: Zone,
}

/// A node wants a key, or wants another source for it.
///
/// A repeated join is idempotent, so a lost reply does no harm.
#[derive(Debug, Clone, Copy)]
pub struct Join<'a, A> {
    pub node: A,
    pub place: NodePlace,
    /// Bytes that it has already.
    pub offset: u64,
    /// The sources that it gave up since its last join, and why.
    pub tried: &'a [Tried<A>],
    /// From how many nodes at once it can take; 1 where it does not stripe.
    pub sources: usize,
    /// For how many milliseconds it has been waiting for a byte, as far as it knows itself.
    pub waited_ms: u32,
    /// Whether it counts as one that had a permit for the key and made no progress, as others did that the
    /// caller takes for the same: it gets none in its turn.
    pub stalled: bool,
    /// The rank that it was given for this key earlier.
    pub rank: Option<Rank>,
}

/// A source that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried<A> {
    pub source: A,
    pub fault: Fault,
}

/// Why a source was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It cannot be reached, or gives nothing and does not say why.
    Silent,
    /// It has nothing to give: its own fetch failed, or it has lost its permit.
    Empty,
    /// It reports that its own containerd drains slowly.
    Slow,
    /// All its places are taken.
    Busy,
    /// It sent a chunk that does not match the list.
    Wrong,
}

/// How far a node is. Nodes with a permit report it each second, and at their first byte; the
/// others with their keepalives.
#[derive(Debug, Clone, Copy)]
pub struct Progress<A> {
    pub node: A,
    pub place: NodePlace,
    /// Bytes that it has.
    pub bytes: u64,
    /// The rank that it was given for this key.
    pub rank: Option<Rank>,
    /// Whether it is taking from the registry by a permit.
    pub permit: bool,
    /// The registry, where it says which.
    pub registry: Option<Registry>,
    /// The same as [`Join::stalled`]: a permit that it claims and does not have is not given.
    pub stalled: bool,
}
