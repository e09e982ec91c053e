//! The nodes and their signs of life, in memory.
//!
//! Each instance keeps all nodes of its databases, so that a find joins liveness without a read.
//! What an instance learns it writes to the database in batches, and what the others wrote it
//! reads back from there.

mod handed_out;
mod node;

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

pub(crate) use self::node::Node;
use crate::{
    packed::Packed,
    store::{NodeKey, NodeRow, NodeState, Seen, Version},
};

/// All nodes of one database.
#[derive(Debug)]
pub(crate) struct Nodes {
    table: RwLock<Table>,
    timeout: i64,
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<NodeKey, Node>,
}

/// A moment's view of the nodes.
#[derive(Debug)]
pub(crate) struct View<'a> {
    table: RwLockReadGuard<'a, Table>,
    alive_since: i64,
}

impl Nodes {
    /// A node that was silent for `timeout` is dead.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            table: RwLock::default(),
            timeout: i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// The nodes as they are at `now`.
    pub(crate) fn view(&self, now: i64) -> View<'_> {
        View {
            table: self.table.read().unwrap_or_else(PoisonError::into_inner),
            alive_since: now.saturating_sub(self.timeout),
        }
    }

    /// A node was heard of at `now`.
    pub(crate) fn seen<T>(&self, key: NodeKey, now: i64, then: impl FnOnce(&Node) -> T) -> T {
        self.with(key, |node| {
            node.seen(now);
            then(node)
        })
    }

    /// A change of a node's set was stored at `now`.
    pub(crate) fn stored(
        &self,
        key: NodeKey,
        now: i64,
        state: NodeState,
        version: Option<Version>,
    ) {
        self.with(key, |node| node.stored(now, state, version));
    }

    /// What other instances wrote.
    pub(crate) fn merge(&self, rows: &[NodeRow]) {
        for row in rows {
            self.with(row.key, |node| node.merge(row));
        }
    }

    /// Signs of life that were not written yet; they count as written from here on.
    pub(crate) fn take_unwritten(&self) -> Vec<Seen> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut seen: Vec<Seen> = table
            .slots
            .iter()
            .filter_map(|(key, node)| node.take_unwritten(*key))
            .collect();
        drop(table);
        // Every instance writes in the same order, and so none waits for another in a circle.
        seen.sort_unstable_by_key(|seen| seen.key);
        seen
    }

    /// They could not be written after all.
    pub(crate) fn put_back(&self, seen: &[Seen]) {
        for seen in seen {
            self.with(seen.key, Node::mark_unwritten);
        }
    }

    fn with<T>(&self, key: NodeKey, then: impl FnOnce(&Node) -> T) -> T {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = table.slots.get(&key) {
            return then(node);
        }
        drop(table);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        then(table.slots.entry(key).or_default())
    }
}

impl View<'_> {
    /// The node, if it may be handed out.
    pub(crate) fn alive(&self, key: NodeKey) -> Option<&Node> {
        self.table
            .slots
            .get(&key)
            .filter(|node| node.is_alive(self.alive_since))
    }

    /// All nodes that may be handed out, in no order.
    pub(crate) fn living(&self) -> impl Iterator<Item = Packed> {
        let living =
            |(key, node): (&NodeKey, &Node)| node.is_alive(self.alive_since).then_some(key.holder);
        self.table.slots.iter().filter_map(living)
    }
}
