//! A view of a herd, for people and for gauges.

use serde::Serialize;

use crate::{Key, Rack, Rank, Reason, Zone};

/// One key's herd.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation<A> {
    pub key: Key,
    /// Since it began.
    pub seconds: f64,
    pub waiting: usize,
    pub fetching: usize,
    pub complete: usize,
    pub out: usize,
    /// Of all these, nodes that are slow and feed nobody.
    pub slow: usize,
    /// The nodes with a permit for the registry.
    pub permits: Vec<(A, Reason)>,
    /// Permits given so far: copies that the registry was asked for, at most.
    pub permitted: u64,
    pub permits_lost: u64,
    /// Nodes that got it all without a permit: copies that the registry was spared.
    pub copies_saved: u64,
    /// Hops from the registry or a holder to the farthest node.
    pub deepest: u16,
    /// The racks in the order of the tree, those first that have a place in it.
    pub racks: Vec<RackView<A>>,
}

/// One chain of a herd.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RackView<A> {
    pub rack: Rack,
    pub zone: Zone,
    /// Its place in the order; `None` while its gateway has no source.
    pub number: Option<u32>,
    /// Racks between it and the root.
    pub level: u16,
    pub members: usize,
    pub complete: usize,
    /// The node that fetches from other racks for the whole chain.
    pub gateway: Option<A>,
    /// The rack from which the gateway takes.
    pub parent: Option<Rack>,
    /// Gateways that take from it.
    pub fan: usize,
}

/// One node of a herd.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemberView<A> {
    pub node: A,
    pub rack: Rack,
    pub rank: Option<Rank>,
    pub phase: Phase,
    /// Its source.
    pub sources: Vec<A>,
    /// The nodes that fetch from it.
    pub feeds: Vec<A>,
    pub bytes: u64,
    pub depth: u16,
    pub permit: Option<Reason>,
    pub slow: bool,
    pub barred: bool,
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It has no source.
    Waiting,
    Fetching,
    /// It has it all.
    Complete,
    /// It left, or was given up.
    Out,
}

/// Sums over all keys: gauges of now, and counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    pub keys: usize,
    /// Nodes that want a key, once for each key.
    pub members: usize,
    pub wanting: usize,
    pub permits: usize,
    pub bytes_of_memory: usize,
    pub joins: u64,
    /// Permits given in turn.
    pub turns: u64,
    /// Permits given to nodes that waited too long.
    pub patience: u64,
    pub permits_lost: u64,
    /// Nodes that were given another source than they had because theirs was slow.
    pub moves: u64,
    /// Members that said that they are slow.
    pub slow: u64,
    /// Members that got it all.
    pub completed: u64,
    pub settled: u64,
    /// Joins and reports for which there was no room.
    pub refused: u64,
    /// Changes that were dropped because no caller took them in time.
    pub changes_missed: u64,
    /// Most hops between a node and the root.
    pub deepest: u16,
    /// The same, of the keys that are remembered now.
    pub depth: u16,
    /// Joins whose answer was to wait.
    pub waits: u64,
    /// Sources that were given up, as reported by the nodes that fetched from them.
    pub handovers: u64,
    /// Keys for which a permit was given: copies that the registry has to give, at the least.
    pub from_registry: u64,
}

impl Totals {
    /// Copies that the registry did not serve: complete nodes less permits.
    pub fn copies_saved(&self) -> u64 {
        self.completed.saturating_sub(self.turns + self.patience)
    }
}
