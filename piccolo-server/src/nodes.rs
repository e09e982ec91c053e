//! The nodes and their keepalives, in memory.
//!
//! Each instance keeps all nodes of its databases, so that a find joins liveness without a read. An
//! instance writes what it learns to the database in batches, and reads back what the others wrote.

mod accusers;
mod handed;
mod handed_out;
mod life;
mod node;
mod sources;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use daemon::metric::Metric;
use metrics::counter;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

pub(crate) use self::{
    accusers::Accusation,
    node::Node,
    sources::{Admission, CapError, Caps, Plan},
};
use self::{
    accusers::{Accusers, ENOUGH, OutCount},
    handed::HandedTo,
    node::Present,
    sources::Sources,
};
use crate::{
    key_hash::Fingerprint,
    packed::Packed,
    patience::{Agent, Patience, Since},
    quick_hash::QuickHash,
    store::{NodeKey, NodeRow, NodeState, Seen, SpaceId, Version},
};

const TAKEN_OUT: &str = "piccolo_server_nodes_taken_out_total";
const ACCUSATIONS: &str = "piccolo_server_accusations_total";

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[
    Metric::counter(
        TAKEN_OUT,
        &[],
        "Nodes that were taken out because peers reported them.",
    ),
    Metric::counter(
        ACCUSATIONS,
        &[(
            "verdict",
            "`counted`, `no_node` (by a node that is not alive, or of one), `not_handed` (no find named \
             the reported node to the reporting one lately), `too_many_out` (there were enough, but a tenth \
             of the group is out already)",
        )],
        "Reports of nodes that did not deliver.",
    ),
];

/// All nodes of one database.
#[derive(Debug)]
pub(crate) struct Nodes {
    table: RwLock<NodeTable>,
    accusers: Mutex<Accusers>,
    handed: HandedTo,
    sources: Arc<Sources>,
    caps: Caps,
    patience: Patience,
}

/// The result of a stored change of a node's set.
#[derive(Debug)]
pub(crate) struct Stored {
    /// When the call was accepted, in milliseconds since the Unix epoch.
    pub(crate) at: i64,
    /// From where; `None` of a change that says nothing of the set.
    pub(crate) source: Option<IpAddr>,
    /// The keepalive in the node's row, if the row was written.
    pub(crate) written: Option<i64>,
    pub(crate) state: NodeState,
    pub(crate) version: Option<Version>,
    pub(crate) agent: Agent,
    /// What it had in the database, and has now.
    pub(crate) before: Fingerprint,
    pub(crate) held: Fingerprint,
}

/// What a keepalive led to.
#[derive(Debug)]
pub(crate) enum Sign {
    /// The node was alive before, and its set is at this version.
    Known(Option<Version>),
    /// The node was not alive, so its set may have been evicted; nothing was noted yet.
    News,
}

/// How many nodes there are of each kind, and how many keys they hold in all.
#[derive(Debug, Default)]
pub(crate) struct Census {
    pub(crate) up: u64,
    pub(crate) silent: u64,
    pub(crate) left: u64,
    pub(crate) broken: u64,
    /// Of those that are up, those of Go agents.
    pub(crate) go: u64,
    pub(crate) keys: u64,
}

#[derive(Debug, Default)]
struct NodeTable {
    slots: HashMap<NodeKey, Node, QuickHash>,
    /// Where the nodes are, whatever their ports.
    addresses: HashSet<(SpaceId, IpAddr)>,
    /// How many there are in each space.
    counts: HashMap<SpaceId, u32>,
}

/// A moment's view of the nodes.
#[derive(Debug)]
pub(crate) struct View<'a> {
    table: RwLockReadGuard<'a, NodeTable>,
    alive_since: Since,
}

impl Nodes {
    /// A node that was silent for longer than `patience` has is dead.
    pub(crate) fn new(patience: Patience, caps: Caps) -> Self {
        Self {
            table: RwLock::default(),
            accusers: Mutex::default(),
            handed: HandedTo::new(),
            sources: Arc::default(),
            caps,
            patience,
        }
    }

    /// The nodes as they are at `now`.
    pub(crate) fn view(&self, now: i64) -> View<'_> {
        View {
            table: self.table.read(),
            alive_since: self.alive_since(now),
        }
    }

    /// Nodes last heard of before the returned time are dead at `now`.
    pub(crate) fn alive_since(&self, now: i64) -> Since {
        self.patience.over(now, 0)
    }

    /// The latest time that a right clock may say at `now`: those of instances may differ by as much as a
    /// node may be silent.
    pub(crate) fn latest(&self, now: i64) -> i64 {
        now.saturating_add(self.patience.own())
    }

    fn present(&self, now: i64) -> Present {
        Present {
            now,
            latest: self.latest(now),
        }
    }

    /// A keepalive at `now`. It is noted for a node that is alive; for another one the store has to
    /// be asked first.
    pub(crate) fn alive(
        &self,
        key: NodeKey,
        source: IpAddr,
        now: i64,
        then: impl FnOnce(&Node),
    ) -> Sign {
        let view = self.view(now);
        match view.alive(key) {
            Some(node) => {
                node.seen(self.present(now));
                if node.source().is_none() {
                    node.belongs_to(source, key.space, &self.sources);
                }
                then(node);
                Sign::Known(node.version())
            }
            None => Sign::News,
        }
    }

    /// Whether there are nodes in a space, alive or not.
    pub(crate) fn are_in(&self, space: SpaceId) -> bool {
        self.table.read().counts.contains_key(&space)
    }

    /// Takes room for a change that may make a node or a group, or keys.
    ///
    /// `node` is the node's key where its group is known. A full group still takes the first node of an
    /// address of its own: nobody can invent more of these than it has addresses.
    ///
    /// # Errors
    /// When its address, or the group, has as much as it may have.
    pub(crate) fn admit(
        &self,
        node: Option<NodeKey>,
        mut plan: Plan,
        is_own_address: bool,
    ) -> Result<Admission, CapError> {
        let table = self.table.read();
        let known = node.and_then(|key| table.slots.get(&key));
        if let Some(known) = known {
            plan.is_new_node = false;
            plan.keys = plan
                .keys
                .saturating_sub(u64::from(plan.replaced(known.held())));
        }
        let in_group = node.and_then(|key| table.counts.get(&key.space)).copied();
        drop(table);
        let most = self.caps.nodes_per_group;
        let is_full = plan.is_new_node && in_group.is_some_and(|nodes| nodes >= most);
        if is_full && !(is_own_address && self.sources.has_none(plan.source)) {
            return Err(CapError::NodesOfGroup { most });
        }
        self.sources.admit(plan, self.caps)
    }

    /// Calls `then` with a known node; an unknown node was not accepted yet.
    pub(crate) fn note(&self, key: NodeKey, then: impl FnOnce(&Node)) {
        let table = self.table.read();
        if let Some(node) = table.slots.get(&key) {
            then(node);
        }
    }

    /// Whether the node was accepted and is not forgotten.
    pub(crate) fn has(&self, key: NodeKey) -> bool {
        self.table.read().slots.contains_key(&key)
    }

    /// Whether some node is, or recently was, at an address.
    pub(crate) fn knows(&self, space: SpaceId, address: IpAddr) -> bool {
        let table = self.table.read();
        table.addresses.contains(&(space, address.to_canonical()))
    }

    /// A find named `node` to the node at `asker`.
    pub(crate) fn handed(&self, asker: IpAddr, node: NodeKey, now: i64) {
        self.handed.add(asker, node, now);
    }

    /// From `now` on this instance hears, or another one is heard of: for a while it does not know all that
    /// finds named.
    pub(crate) fn others_answer(&self, now: i64) {
        self.handed.blinded(now);
    }

    /// Peer `by`, which called from `source`, could not get from `node` what it should have. Several
    /// different ones in a short time take it out until its next keepalive; one does where the node was
    /// silent for longer than one of our agents may be.
    ///
    /// All nodes that call from one address are one peer, unless the accused does too: then it is an
    /// address translation that they have in common.
    pub(crate) fn accuse(
        &self,
        node: NodeKey,
        (by, source): (NodeKey, IpAddr),
        now: i64,
    ) -> Accusation {
        let accusation = self.judge(node, (by, source), now);
        counter!(ACCUSATIONS, "verdict" => accusation.label()).increment(1);
        accusation
    }

    fn judge(&self, node: NodeKey, (by, source): (NodeKey, IpAddr), now: i64) -> Accusation {
        let view = self.view(now);
        // Only live nodes may accuse others.
        let (Some(accused), Some(_), Some((_, peer))) =
            (view.alive(node), view.alive(by), by.address())
        else {
            return Accusation::NoNode;
        };
        if !self.handed.is_blind(now) && !self.handed.has(peer, node, now) {
            return Accusation::NotHanded;
        }
        // It is alive only by the patience that there is with Go agents.
        let enough = if accused.heard() < view.alive_since.own {
            1
        } else {
            ENOUGH
        };
        let is_shared = accused.source() == Some(source);
        let who = if is_shared { peer } else { source };
        let mut accusers = self.accusers.lock();
        if !accusers.add(node, who, (now, accused.heard()), enough) {
            return Accusation::Counted;
        }
        let which = (node.space, accused.agent());
        if !accusers.may_take_out(which, now, || view.out_of(which)) {
            return Accusation::TooManyOut;
        }
        accused.broken(self.present(now));
        counter!(TAKEN_OUT).increment(1);
        Accusation::TakesOut
    }

    /// A change of a node's set was stored. Returns whether the set before the change was the one
    /// known here, and the node was alive; if not, another instance has changed it.
    pub(crate) fn stored(&self, key: NodeKey, stored: &Stored) -> bool {
        let was_alive = self.is_fresh(key, self.alive_since(stored.at));
        let store = |node: &Node| {
            let is_known = node.stored(stored, self.present(stored.at), &self.sources);
            if let Some(source) = stored.source {
                node.belongs_to(source, key.space, &self.sources);
            }
            is_known
        };
        self.with(key, store) && was_alive
    }

    /// Merges the database's rows. Returns whether other instances wrote some of them.
    pub(crate) fn merge(&self, rows: &[NodeRow], now: i64) -> bool {
        let present = self.present(now);
        let mut news = false;
        for row in rows {
            news |= self.with(row.key, |node| node.merge(row, present, &self.sources));
        }
        news
    }

    /// Takes back times of a clock that was ahead. Returns whether the database has some.
    pub(crate) fn settle(&self, now: i64) -> bool {
        let present = self.present(now);
        let mut is_ahead = false;
        #[expect(clippy::iter_over_hash_type, reason = "no node depends on another")]
        for node in self.table.read().slots.values() {
            node.settle(present);
            is_ahead |= node.is_ahead(present);
        }
        is_ahead
    }

    /// The database's times of the future were moved to `to`.
    pub(crate) fn rewound(&self, now: i64, to: i64) {
        let present = self.present(now);
        #[expect(clippy::iter_over_hash_type, reason = "no node depends on another")]
        for node in self.table.read().slots.values() {
            node.rewound(present, to);
        }
    }

    /// Keepalives and states to write: see [`Node::take_unwritten`].
    pub(crate) fn take_unwritten(&self, lazy: i64) -> Vec<Seen> {
        let table = self.table.read();
        let mut seen: Vec<Seen> = table
            .slots
            .iter()
            .filter_map(|(key, node)| node.take_unwritten(*key, lazy))
            .collect();
        drop(table);
        // All instances write in the same order, which prevents deadlocks.
        seen.sort_unstable_by_key(|seen| seen.key);
        seen
    }

    /// Forgets nodes of which nothing was heard since `before`; the database is asked again should
    /// they come back.
    pub(crate) fn forget(&self, before: Since) {
        let mut table = self.table.write();
        let mut gone = Vec::new();
        table.slots.retain(|key, node| {
            let stays = node.is_heard(before);
            if !stays {
                gone.push((key.space, node.source(), node.held()));
            }
            stays
        });
        if !gone.is_empty() {
            table.addresses = table.slots.keys().filter_map(NodeKey::address).collect();
            let keys = table.slots.keys();
            table.counts = keys.fold(HashMap::new(), |mut counts, key| {
                *counts.entry(key.space).or_default() += 1;
                counts
            });
        }
        drop(table);
        for (space, source, held) in gone {
            if let Some(source) = source {
                self.sources.remove(source, space, held);
            }
        }
        self.sources.forget(before.own);
    }

    /// Whether the node has sent a call since then.
    pub(crate) fn is_fresh(&self, key: NodeKey, since: Since) -> bool {
        let table = self.table.read();
        let node = table.slots.get(&key);
        node.is_some_and(|node| node.is_heard(since))
    }

    /// Counts the nodes as they are at `now`.
    pub(crate) fn census(&self, now: i64) -> Census {
        let view = self.view(now);
        let mut census = Census::default();
        #[expect(
            clippy::iter_over_hash_type,
            reason = "sums come to the same in any order"
        )]
        for node in view.table.slots.values() {
            census.keys += u64::from(node.held());
            census.go += u64::from(node.is_alive(view.alive_since) && node.agent() == Agent::Go);
            *match node.state() {
                NodeState::Left => &mut census.left,
                NodeState::Broken => &mut census.broken,
                NodeState::Up if node.is_alive(view.alive_since) => &mut census.up,
                NodeState::Up => &mut census.silent,
            } += 1;
        }
        census
    }

    /// The write failed: marks them as unwritten again.
    pub(crate) fn put_back(&self, seen: &[Seen]) {
        for seen in seen {
            self.note(seen.key, Node::mark_unwritten);
        }
    }

    /// Calls `f` with a node, which is created if it is not known yet.
    fn with<T>(&self, key: NodeKey, then: impl FnOnce(&Node) -> T) -> T {
        let table = self.table.read();
        if let Some(node) = table.slots.get(&key) {
            return then(node);
        }
        drop(table);
        let mut table = self.table.write();
        table.addresses.extend(key.address());
        if !table.slots.contains_key(&key) {
            *table.counts.entry(key.space).or_default() += 1;
        }
        then(table.slots.entry(key).or_default())
    }
}

impl NodeKey {
    fn address(&self) -> Option<(SpaceId, IpAddr)> {
        Some((self.space, self.holder.holder()?.ip()))
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

    /// How many of a space may be handed out, and how many would be if nobody had accused them. The nodes of Go
    /// agents are counted by themselves: they are out for long, and must not use up what is there for others.
    fn out_of(&self, (space, agent): (SpaceId, Agent)) -> OutCount {
        let mut count = OutCount::default();
        let of_space = self
            .table
            .slots
            .iter()
            .filter(|(key, node)| key.space == space && node.agent() == agent);
        for (_, node) in of_space {
            if node.is_alive(self.alive_since) {
                count.alive += 1;
            } else if node.state() == NodeState::Broken && node.is_heard(self.alive_since) {
                count.out += 1;
            }
        }
        count
    }

    /// Those of one space that can coordinate others, in no order: Go agents cannot.
    pub(crate) fn coordinators_in(&self, space: SpaceId) -> impl Iterator<Item = Packed> {
        let can =
            move |(key, node): &(&NodeKey, &Node)| key.space == space && node.agent() == Agent::Own;
        self.living_nodes().filter(can).map(|(key, _)| key.holder)
    }

    /// All nodes that may be handed out, in no order.
    pub(crate) fn living(&self) -> impl Iterator<Item = Packed> {
        self.living_nodes().map(|(key, _)| key.holder)
    }

    fn living_nodes(&self) -> impl Iterator<Item = (&NodeKey, &Node)> {
        let living = |(_, node): &(&NodeKey, &Node)| node.is_alive(self.alive_since);
        self.table.slots.iter().filter(living)
    }
}
