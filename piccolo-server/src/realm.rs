//! One database with all that belongs to it: nodes, spaces, the queue of changes.

use std::{sync::Arc, time::Duration};

use daemon::{clock::Clock, readiness::Readiness, scope::Scope};
use piccolo_api::{Group, Holder};
use tokio::sync::mpsc;

use crate::{
    evictor::{self, Evictor},
    flusher::{self, Flusher},
    holders::Lists,
    nodes::Nodes,
    packed::Packed,
    spaces::Spaces,
    store::{NodeKey, Store, StoreError, Writer},
    writer::{self, Bounds, Changes},
};

/// One database, and what is known of it in memory.
#[derive(Debug)]
pub(crate) struct Realm {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) spaces: Arc<Spaces>,
    pub(crate) changes: Changes,
    /// The holders of keys that were asked for lately.
    pub(crate) lists: Arc<Lists>,
    /// Ends when nobody can bring signs of life any more.
    _open: mpsc::Sender<()>,
}

/// What all realms of a server have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) clock: Clock,
    pub(crate) readiness: Readiness,
    pub(crate) writer: Writer,
    pub(crate) node_timeout: Duration,
    pub(crate) flush: Duration,
    pub(crate) bounds: Bounds,
    /// How long the holders of a key are remembered.
    pub(crate) find_cache_ttl: Duration,
}

/// What a database knew when it was opened.
#[derive(Debug)]
pub(crate) struct Known {
    store: Arc<dyn Store>,
    nodes: Arc<Nodes>,
    spaces: Arc<Spaces>,
}

impl Known {
    /// Reads it.
    pub(crate) async fn read(store: Arc<dyn Store>, common: &Common) -> Result<Self, StoreError> {
        let nodes = Arc::new(Nodes::new(common.node_timeout));
        let spaces = Arc::new(Spaces::default());
        spaces.add(store.spaces().await?);
        nodes.merge(&store.nodes().await?);
        Ok(Self {
            store,
            nodes,
            spaces,
        })
    }
}

impl Realm {
    /// Starts the tasks that keep a database company.
    pub(crate) fn start(name: Arc<str>, known: Known, common: &Common, scope: &Scope) -> Self {
        let Known {
            store,
            nodes,
            spaces,
        } = known;
        let (changes, queues) = writer::queues(common.bounds, store.lanes());
        let lists = Lists::new(Arc::clone(&store), scope.clone(), common.find_cache_ttl);
        let lists = Arc::new(lists);
        let work = writer::Work {
            store: Arc::clone(&store),
            nodes: Arc::clone(&nodes),
            lists: Arc::clone(&lists),
            clock: common.clock.clone(),
            writer: common.writer,
            bounds: common.bounds,
        };
        for queue in queues {
            scope.service("writer", writer::run(queue, work.clone()));
        }
        let evictor = Evictor {
            store: Arc::clone(&store),
            nodes: Arc::clone(&nodes),
            clock: common.clock.clone(),
            writer: common.writer,
            timeout: common.node_timeout,
        };
        scope.service("evictor", evictor::run(evictor, scope.clone()));
        let flusher = Flusher {
            name,
            readiness: common.readiness.clone(),
            store: Arc::clone(&store),
            nodes: Arc::clone(&nodes),
            lists: Arc::clone(&lists),
            spaces: Arc::clone(&spaces),
            clock: common.clock.clone(),
            writer: common.writer,
            timeout: common.node_timeout,
            every: common.flush,
        };
        let (open, is_open) = mpsc::channel(1);
        scope.service("flusher", flusher::run(flusher, is_open));
        Self {
            store,
            nodes,
            spaces,
            changes,
            lists,
            _open: open,
        }
    }

    /// The node's key; its group is made known to the store where it is new.
    pub(crate) async fn node(&self, group: &Group, holder: Holder) -> Result<NodeKey, StoreError> {
        let holder = Packed::from(holder);
        let space = self
            .spaces
            .intern(&*self.store, group, holder.family())
            .await?;
        Ok(NodeKey { space, holder })
    }
}
