//! One database, and what belongs to it in memory: its nodes, its groups, the cached holders of keys,
//! and the tasks that write changes.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use daemon::{clock::Clock, readiness::Readiness, scope::Scope, spell::Spell};
use piccolo_api::{Group, Holder};
use tokio::sync::mpsc;

use crate::{
    auditor::{self, Auditor},
    evictor::{self, Evictor},
    flusher::{self, Flusher},
    holders::{HolderCache, KeyQuery, Lookup},
    nodes::{Admission, Caps, Nodes},
    packed::Packed,
    patience::Patience,
    spaces::{ByFamily, Spaces},
    store::{Change, ChangeOutcome, NodeKey, Store, StoreError, Writer},
    writer::{self, Bounds, ChangeError, Changes},
};

/// An agent asks no more than this many of the nodes that a find names.
const ASKED: usize = 32;

/// One database, which serves one group or several. All access goes through this type.
#[derive(Debug)]
pub(crate) struct Database {
    store: Arc<dyn Store>,
    nodes: Arc<Nodes>,
    spaces: Arc<Spaces>,
    clock: Clock,
    changes: Changes,
    holders: Arc<HolderCache>,
    /// Closed when no keepalive can arrive any more.
    _open: mpsc::Sender<()>,
}

/// Settings and parts shared by all databases of a server.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) clock: Clock,
    pub(crate) readiness: Readiness,
    pub(crate) writer: Writer,
    pub(crate) patience: Patience,
    pub(crate) flush: Duration,
    pub(crate) bounds: Bounds,
    pub(crate) caps: Caps,
    /// How long the holders of a key are remembered.
    pub(crate) find_cache_ttl: Duration,
}

/// The content of a database when it was opened.
#[derive(Debug)]
pub(crate) struct Known {
    store: Arc<dyn Store>,
    nodes: Arc<Nodes>,
    spaces: Arc<Spaces>,
}

impl Known {
    /// Reads it.
    pub(crate) async fn read(store: Arc<dyn Store>, common: &Common) -> Result<Self, StoreError> {
        let nodes = Arc::new(Nodes::new(common.patience, common.caps));
        let spaces = Arc::new(Spaces::default());
        spaces.add(store.spaces().await?);
        nodes.merge(&store.nodes().await?, common.clock.now_ms());
        nodes.others_answer(common.clock.now_ms());
        Ok(Self {
            store,
            nodes,
            spaces,
        })
    }
}

impl Database {
    /// Starts its tasks.
    pub(crate) fn start(name: Arc<str>, known: Known, common: &Common, scope: &Scope) -> Self {
        let Known {
            store,
            nodes,
            spaces,
        } = known;
        let (changes, queues) = writer::queues(common.bounds, store.lanes());
        let holders = HolderCache::new(Arc::clone(&store), scope.clone(), common.find_cache_ttl);
        let holders = Arc::new(holders);
        let work = writer::Work {
            store: Arc::clone(&store),
            nodes: Arc::clone(&nodes),
            holders: Arc::clone(&holders),
            clock: common.clock.clone(),
            writer: common.writer,
            bounds: common.bounds,
            refusals: Arc::new(Spell::new("changes are taken again")),
        };
        for queue in queues {
            scope.service("writer", writer::run(queue, work.clone()));
        }
        let auditor = Auditor {
            store: Arc::clone(&store),
            clock: common.clock.clone(),
            writer: common.writer,
        };
        scope.service("auditor", auditor::run(auditor, scope.clone()));
        let evictor = Evictor {
            store: Arc::clone(&store),
            nodes: Arc::clone(&nodes),
            clock: common.clock.clone(),
            writer: common.writer,
            patience: common.patience,
        };
        scope.service("evictor", evictor::run(evictor, scope.clone()));
        let flusher = Flusher {
            name,
            readiness: common.readiness.clone(),
            store: Arc::clone(&store),
            nodes: Arc::clone(&nodes),
            holders: Arc::clone(&holders),
            spaces: Arc::clone(&spaces),
            clock: common.clock.clone(),
            writer: common.writer,
            patience: common.patience,
            every: common.flush,
            clocks: Spell::new("no instance writes times of the future any more"),
        };
        let (open, is_open) = mpsc::channel(1);
        scope.service("flusher", flusher::run(flusher, is_open));
        Self {
            store,
            nodes,
            spaces,
            clock: common.clock.clone(),
            changes,
            holders,
            _open: open,
        }
    }

    /// The node's key; `None` where its group is not there.
    pub(crate) async fn node_key(
        &self,
        group: &Group,
        holder: Holder,
    ) -> Result<Option<NodeKey>, StoreError> {
        let holder = Packed::from(holder);
        let space = self.spaces.find(&*self.store, group, holder.family());
        Ok(space.await?.map(|space| NodeKey { space, holder }))
    }

    /// The key of a node in a group that is made where it is new, as it was admitted.
    ///
    /// A group without nodes may be taken away at this moment: the store is asked.
    pub(crate) async fn new_node_key(
        &self,
        group: &Group,
        holder: Holder,
        admission: &Admission,
    ) -> Result<NodeKey, StoreError> {
        let holder = Packed::from(holder);
        let (family, now) = (holder.family(), self.clock.now_ms());
        let known = self.spaces(group).of(family);
        if let Some(space) = known.filter(|space| self.nodes.are_in(*space)) {
            return Ok(NodeKey { space, holder });
        }
        let interned = self.spaces.intern(&*self.store, group, family, now);
        let space = interned.await?;
        admission.made(space, now);
        Ok(NodeKey { space, holder })
    }

    /// The spaces of a group; none of one that has no nodes yet.
    pub(crate) fn spaces(&self, group: &Group) -> ByFamily {
        self.spaces.get(group)
    }

    /// A find of the node at `asker` named these, the first of which it may ask.
    pub(crate) fn handed(
        &self,
        spaces: ByFamily,
        asker: IpAddr,
        holders: impl Iterator<Item = SocketAddr>,
    ) {
        let now = self.clock.now_ms();
        for holder in holders.take(ASKED) {
            let holder = Packed::new(holder.ip(), holder.port());
            if let Some(space) = spaces.of(holder.family()) {
                self.nodes.handed(asker, NodeKey { space, holder }, now);
            }
        }
    }

    /// The nodes, in memory.
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Has a change of a node's set written; returns when it is committed. What may make a node or keys
    /// was admitted.
    pub(crate) async fn apply(
        &self,
        change: Change,
        admission: Option<Admission>,
    ) -> Result<ChangeOutcome, ChangeError> {
        self.changes.apply(change, admission).await
    }

    /// The holders of a key, from memory where they are fresh enough.
    pub(crate) async fn holders(&self, query: KeyQuery) -> Result<Lookup, StoreError> {
        self.holders.lookup(query).await
    }

    /// The store, for reads that no cache answers.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}
