//! What keys, racks, zones and places in a herd's order are called.

use std::fmt;

use serde::Serialize;

/// A key: the first sixteen bytes of a blob's digest, or a hash of what else names content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key(pub u128);

/// A rack, by a number that means the same on every instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Rack(pub u64);

/// A zone: racks between which the way is shorter than to the others. All zero where none is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Zone(pub u64);

/// A registry, by a number that means the same on every instance, and another one in each group of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Registry(pub u64);

/// A node's place in the order of a herd: it takes from earlier ones only.
///
/// Agents keep theirs and say it with each call, so that it outlives the instance that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Rank {
    /// Seconds of the Unix time at which the instance that gave it had begun.
    pub epoch: u32,
    /// Which rack of the herd, in the order in which their gateways got a source.
    pub rack: u32,
    /// Which node of the rack.
    pub place: u32,
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, rack, place } = self;
        write!(f, "{epoch}.{rack}.{place}")
    }
}

/// A node, by the number that one [`crate::Swarm`] has for its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Node(pub(crate) u32);
