//! The content of a database: holders of keys, and nodes.
//!
//! Nothing outside of this module knows SQL. [`SqlStore`] holds the statements, which the engines
//! have in common; an [`engine`] connects and says what is different.

mod audit;
mod bandwidth;
mod batch;
mod engine;
mod error;
mod evict;
mod health;
mod held;
mod holdings;
mod instances;
mod lease;
mod mysql;
mod nodes;
mod retry;
mod rows;
mod schema;
mod sets;
mod spaces;
mod sql_store;
mod sqlite;
mod statement;
mod timing;

use std::{fmt, net::SocketAddr};

use daemon::metric::Metric;
use futures_util::future::BoxFuture;
use piccolo_api::Group;

use crate::{
    key_hash::{Fingerprint, KeyHash},
    packed::{Family, Packed, Stretch},
    patience::{Agent, Since},
};

pub(crate) use self::{error::StoreError, mysql::MySql, sql_store::SqlStore, sqlite::Sqlite};

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[
    timing::SECONDS_METRIC,
    timing::FAILURES_METRIC,
    retry::METRIC,
];

/// Reply of a store.
pub(crate) type Reply<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A database that holds one or several groups.
pub(crate) trait Store: fmt::Debug + Send + Sync {
    /// Brings the schema up to date.
    fn migrate(&self) -> Reply<'_, ()>;

    /// Fails with [`StoreError::Schema`] where [`migrate`](Self::migrate) has something to do.
    fn check_schema(&self) -> Reply<'_, ()>;

    /// How many transactions that change sets are worth writing at a time.
    fn lanes(&self) -> usize;

    /// Whether finds may miss the latest writes.
    fn lags(&self) -> bool;

    /// How many connections there are, and are in use.
    fn connections(&self) -> Connections;

    /// All spaces.
    fn spaces(&self) -> Reply<'_, Vec<SpaceRow>>;

    /// The space of a group and family, if there is one.
    fn space<'a>(&'a self, group: &'a Group, family: Family) -> Reply<'a, Option<SpaceId>>;

    /// The space of a group and family, made at `now` where it is not there yet.
    fn intern<'a>(&'a self, group: &'a Group, family: Family, now: i64) -> Reply<'a, SpaceId>;

    /// Spaces without a node.
    fn empty_spaces(&self) -> Reply<'_, Vec<SpaceId>>;

    /// Takes away spaces that were empty for long, and takes back what it did to those that have nodes
    /// again.
    fn mark_gone<'a>(&'a self, spaces: &'a [SpaceId], now: i64) -> Reply<'a, ()>;

    /// The `k` holders of a key on either side of a place in the order of addresses.
    fn nearest(&self, space: SpaceId, key: KeyHash, around: Packed, k: u32) -> Reply<'_, Nearest>;

    /// The holders of a key in the order of their addresses, at most `limit` after that one.
    fn holders(
        &self,
        space: (SpaceId, Family),
        key: KeyHash,
        after: Option<Packed>,
        limit: u32,
    ) -> Reply<'_, Vec<Packed>>;

    /// Some holders of a key in each stretch, at most `each` on either side of its begin.
    fn within<'a>(
        &'a self,
        space: SpaceId,
        key: KeyHash,
        stretches: &'a [Stretch],
        each: u32,
    ) -> Reply<'a, Vec<Packed>>;

    /// All nodes.
    fn nodes(&self) -> Reply<'_, Vec<NodeRow>>;

    /// Nodes whose rows other instances than `writer` wrote at `since` or later.
    fn nodes_of_others(&self, since: i64, writer: Writer) -> Reply<'_, Vec<NodeRow>>;

    /// One node's row.
    fn node(&self, node: NodeKey) -> Reply<'_, Option<NodeRow>>;

    /// Writes keepalives. Nodes without a row get one.
    fn touch<'a>(&'a self, seen: &'a [Seen], stamp: Stamp) -> Reply<'a, ()>;

    /// Moves times of keepalives that are later than `latest` to `to`, and stamps that are to `stamp`. Returns
    /// of how many nodes.
    fn rewind(&self, latest: i64, to: i64, stamp: Stamp) -> Reply<'_, u64>;

    /// Applies changes of different nodes, all or none. Gives one outcome for each.
    fn write<'a>(&'a self, changes: &'a [Change], taken: Taken) -> Reply<'a, Vec<ChangeOutcome>>;

    /// Replaces what `stamp.writer` has learned of these pairs of racks.
    fn share_bandwidth<'a>(&'a self, learned: &'a [BandwidthRow], stamp: Stamp) -> Reply<'a, ()>;

    /// What other instances than `writer` learned, and when they wrote it.
    fn bandwidth_of_others(&self, writer: Writer) -> Reply<'_, Vec<(BandwidthRow, i64)>>;

    /// Removes what was learned and written before that time.
    fn forget_bandwidth(&self, before: i64) -> Reply<'_, ()>;

    /// Nodes without a call since `before`, at most `limit`.
    fn silent(&self, before: Since, limit: u32) -> Reply<'_, Vec<NodeKey>>;

    /// Takes away up to `keys` keys of those of the nodes of which nothing was heard since
    /// `before`, and the nodes that have none left.
    fn evict<'a>(&'a self, nodes: &'a [NodeKey], before: Since, keys: u32) -> Reply<'a, Evicted>;

    /// Compares the stored sets of the next nodes after `after`, at most `limit`, with their rows, and
    /// puts rows right that say something else. `stamp` is given to these.
    fn audit(&self, after: Option<NodeKey>, limit: u32, stamp: Stamp) -> Reply<'_, Audited>;

    /// Writes an instance's row with its beat incremented; the given `beat` is ignored.
    fn beat<'a>(&'a self, instance: &'a InstanceRow) -> Reply<'a, ()>;

    /// The rows of all instances, also of those that are gone.
    fn instances(&self) -> Reply<'_, Vec<InstanceRow>>;

    /// Removes an instance's row, unless it has a later beat than that.
    fn forget_instance(&self, id: Writer, beat: i64) -> Reply<'_, ()>;

    /// Acquires a lease, or extends it. False where another instance has it.
    fn lease(&self, name: &'static str, now: i64, until: Stamp) -> Reply<'_, bool>;
}

/// A group and address family, as the store numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SpaceId(pub(crate) u16);

/// Number of an instance, which need not read back its own writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Writer(pub(crate) i64);

impl Writer {
    /// No instance: all read such a row, the one that wrote it too.
    pub(crate) const NOBODY: Self = Self(-1);
}

/// When and by whom rows are written; milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) at: i64,
    pub(crate) writer: Writer,
}

/// When and by whom changes are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) stamp: Stamp,
    /// A node that was last heard of before then is silent, and its rows may soon be taken away. A Go
    /// agent's may not yet; its row is only written more often than it has to be.
    pub(crate) alive_since: i64,
    /// The most keys that a node may come to.
    pub(crate) keys_per_node: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct SpaceRow {
    pub(crate) id: SpaceId,
    pub(crate) group: Group,
    pub(crate) family: Family,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeKey {
    pub(crate) space: SpaceId,
    pub(crate) holder: Packed,
}

/// Which change of which of the agent's lives a set is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeState {
    Up,
    /// It announced its leave.
    Left,
    /// Several peers reported that it does not deliver.
    Broken,
}

#[derive(Debug, Clone)]
pub(crate) struct NodeRow {
    pub(crate) key: NodeKey,
    pub(crate) seen: i64,
    pub(crate) state: NodeState,
    pub(crate) version: Option<Version>,
    pub(crate) agent: Agent,
    pub(crate) held: Fingerprint,
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) key: NodeKey,
    pub(crate) at: i64,
    pub(crate) state: NodeState,
}

/// What one call wants of one node's set.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) node: NodeKey,
    /// Absent from agents that do not count their changes.
    pub(crate) version: Option<Version>,
    pub(crate) kind: ChangeKind,
}

#[derive(Debug, Clone)]
pub(crate) enum ChangeKind {
    /// Adds and removes; a key is in one of them at most. No key is there twice.
    Delta {
        added: Vec<KeyHash>,
        removed: Vec<KeyHash>,
    },
    /// Is the whole set; no key is there twice.
    Replace(Vec<KeyHash>),
    /// The node leaves; its set stays for its return.
    Leave,
    /// The node is back; its set is as it is.
    Return,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChangeOutcome {
    /// The set is as wanted, and how it got there.
    Done(Applied),
    /// The change does not continue what is stored, of which there may be nothing; nothing was done.
    Gap,
    /// The node would have more keys than one may; nothing was done.
    TooManyKeys,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The keepalive that the node's row has now, if the row was written: one that nothing happened
    /// to is not.
    pub(crate) written: Option<i64>,
    pub(crate) version: Option<Version>,
    pub(crate) agent: Agent,
    pub(crate) held: Fingerprint,
    pub(crate) added: Vec<KeyHash>,
    pub(crate) removed: Vec<KeyHash>,
}

impl Change {
    /// Whether such a change makes its node where there is none: a numbered delta continues something,
    /// and a leave or a return is of a node that is there.
    pub(crate) fn makes_node(version: Option<Version>, kind: &ChangeKind) -> bool {
        match kind {
            ChangeKind::Replace(_) => true,
            ChangeKind::Delta { .. } => version.is_none(),
            ChangeKind::Leave | ChangeKind::Return => false,
        }
    }
}

impl ChangeOutcome {
    /// What was done, if anything.
    pub(crate) fn applied(&self) -> Option<&Applied> {
        match self {
            Self::Done(applied) => Some(applied),
            Self::Gap | Self::TooManyKeys => None,
        }
    }
}

impl Applied {
    /// What the set was before.
    pub(crate) fn before(&self) -> Fingerprint {
        let mut before = self.held;
        before.remove(&self.added);
        before.add(&self.removed);
        before
    }
}

/// What one instance has learned of the way from one rack to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BandwidthRow {
    pub(crate) from: String,
    pub(crate) to: String,
    /// In millionths, as the next.
    pub(crate) weight: i64,
    pub(crate) log_rate: i64,
    pub(crate) bytes: i64,
    pub(crate) busy_us: i64,
}

/// An instance of the server that others can call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct InstanceRow {
    pub(crate) id: Writer,
    /// Where the others reach it.
    pub(crate) address: SocketAddr,
    /// What the others say when they call it.
    pub(crate) secret: i64,
    /// How often it has written its row.
    pub(crate) beat: i64,
}

impl fmt::Debug for InstanceRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instance at {}, beat {}", self.address, self.beat)
    }
}

/// Connections to a database and its replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) open: u32,
    pub(crate) idle: u32,
}

/// What was taken away of nodes that were silent for long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    /// Nodes that are gone with all their keys.
    pub(crate) nodes: u64,
    /// Keys, also of nodes that still have some.
    pub(crate) keys: u64,
}

/// What comparing sets with their rows found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Audited {
    /// The last node that was looked at; `None` if there was no further one.
    pub(crate) last: Option<NodeKey>,
    /// How many were looked at.
    pub(crate) nodes: u64,
    /// Those whose rows were put right.
    pub(crate) mended: Vec<NodeKey>,
}

/// Holders next to a place in the order of addresses, nearest first on either side.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Nearest {
    pub(crate) below: Vec<Packed>,
    pub(crate) above: Vec<Packed>,
}

impl Nearest {
    /// Whether these are all holders there are, when `k` on either side were asked for.
    pub(crate) fn is_all(&self, k: u32) -> bool {
        let full = |side: &[Packed]| u32::try_from(side.len()).is_ok_and(|n| n >= k);
        !full(&self.below) && !full(&self.above)
    }
}

impl NodeState {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Up => 0,
            Self::Left => 1,
            Self::Broken => 2,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Left,
            2 => Self::Broken,
            _ => Self::Up,
        }
    }
}

#[cfg(test)]
mod tests;
