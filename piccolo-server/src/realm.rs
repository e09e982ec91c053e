//! One database with all that belongs to it: nodes, spaces, the queue of changes.

use std::{sync::Arc, time::Duration};

use daemon::{clock::Clock, scope::Scope};
use piccolo_api::{Group, Holder};

use crate::{
    finder::Lists,
    flusher::{self, Flusher},
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
}

/// What all realms of a server have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) clock: Clock,
    pub(crate) writer: Writer,
    pub(crate) node_timeout: Duration,
    pub(crate) flush: Duration,
    pub(crate) bounds: Bounds,
    /// How long the holders of a key are remembered.
    pub(crate) find_cache_ttl: Duration,
}

impl Realm {
    /// Reads what the database knows and starts the tasks that keep it company.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        common: &Common,
        scope: &Scope,
    ) -> Result<Self, StoreError> {
        let nodes = Arc::new(Nodes::new(common.node_timeout));
        let spaces = Arc::new(Spaces::default());
        spaces.add(store.spaces().await?);
        nodes.merge(&store.nodes().await?);
        let (changes, queue) = writer::queue(common.bounds);
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
        scope.service("writer", writer::run(queue, work));
        let flusher = Flusher {
            store: Arc::clone(&store),
            nodes: Arc::clone(&nodes),
            spaces: Arc::clone(&spaces),
            clock: common.clock.clone(),
            writer: common.writer,
            every: common.flush,
        };
        scope.service("flusher", flusher::run(flusher, scope.clone()));
        Ok(Self {
            store,
            nodes,
            spaces,
            changes,
            lists,
        })
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
