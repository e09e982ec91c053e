//! Evicts the holdings of nodes that have been silent for long, and groups that have had no node for as
//! long.
//!
//! One instance at a time does it, under a lease in the database. It waits for a full timeout, of nodes of
//! either kind, after its own start, and after the process was suspended or its clock was set, because
//! keepalives could not arrive before.
//! It also waits after a database outage: other instances may have keepalives that they have yet to
//! write.

use std::{collections::HashMap, sync::Arc, time::Duration};

use daemon::{clock::Clock, metric::Metric, scope::Scope, telemetry};
use metrics::counter;
use tracing::{debug, info};

use crate::{
    lease::Lease,
    nodes::Nodes,
    patience::{Patience, Since},
    store::{Evicted, SpaceId, Store, StoreError, Writer},
};

const NODES: &str = "piccolo_server_evicted_nodes_total";
const KEYS: &str = "piccolo_server_evicted_keys_total";
const GROUPS: &str = "piccolo_server_evicted_groups_total";

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[
    Metric::counter(
        NODES,
        &[],
        "Nodes that were removed after a long silence, by this instance.",
    ),
    Metric::counter(
        KEYS,
        &[],
        "Keys of silent nodes that were removed by this instance.",
    ),
    Metric::counter(
        GROUPS,
        &[],
        "Groups, each for each address family, that had no node any more and were removed by this \
         instance.",
    ),
];

/// Number of timeouts after which a silent node is removed. Until then it can return with its old set.
const REMOVED: i64 = 2;

/// Rounds between two looks at the groups.
const SWEEP_EVERY: u32 = 4;

/// Nodes and keys of one transaction.
const BATCH_NODES: u32 = 32;
const BATCH_KEYS: u32 = 4096;

/// Milliseconds, at least, that other instances get to reconnect after a database outage.
const GRACE_MS: i64 = 5_000;

/// Between two transactions, so that others have their turn.
const TRANSACTION_INTERVAL: Duration = Duration::from_millis(20);

/// The lease ends by itself when the instance that has it dies.
const LEASE: &str = "evict";
const LEASE_MS: i64 = 30_000;

#[derive(Debug)]
pub(crate) struct Evictor {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) clock: Clock,
    pub(crate) writer: Writer,
    pub(crate) patience: Patience,
}

/// Evicts until the scope drains.
pub(crate) async fn run(evictor: Evictor, scope: Scope) {
    let timeout = evictor.patience.own();
    let every = Duration::from_millis((timeout / 8).clamp(100, 10_000).unsigned_abs());
    let lease = Lease {
        store: Arc::clone(&evictor.store),
        clock: evictor.clock.clone(),
        writer: evictor.writer,
        name: LEASE,
        lasts_ms: LEASE_MS,
    };
    let mut last_round = evictor.clock.now_ms();
    let mut not_before = last_round.saturating_add(timeout);
    let mut is_away = false;
    let mut empty = Empty::default();
    loop {
        tokio::select! {
            () = scope.draining() => break,
            () = tokio::time::sleep(every) => {}
        }
        let now = evictor.clock.now_ms();
        // The process was halted, or the clock was set.
        if now < last_round || now - last_round > timeout {
            not_before = now.saturating_add(timeout);
        }
        last_round = now;
        if now < not_before {
            continue;
        }
        // The others' time counts from when the database is seen to be back, not from when it was
        // last seen to be away.
        if is_away {
            if lease.take().await.is_ok() {
                is_away = false;
                not_before = evictor.clock.now_ms().saturating_add(timeout.max(GRACE_MS));
            }
            continue;
        }
        let mut before = evictor.patience.over(now, REMOVED);
        if now < not_before.saturating_add(evictor.patience.more()) {
            before.go = i64::MIN;
        }
        let done = async {
            let evicted = evictor.round(before, &lease, &scope).await?;
            evictor.sweep(&mut empty, before.own, &lease).await?;
            Ok::<_, StoreError>(evicted)
        };
        match done.await {
            Ok(Evicted { nodes: 0, keys: 0 }) => {}
            Ok(Evicted { nodes, keys }) => info!(nodes, keys, "silent nodes were removed"),
            // An unreachable database is logged elsewhere.
            Err(error) => {
                debug!(error = %telemetry::chain(&error), "silent nodes stay");
                is_away = true;
            }
        }
    }
    lease.give_back().await;
}

/// Groups without a node.
#[derive(Debug, Default)]
struct Empty {
    rounds: u32,
    /// Since when, as far as is known here.
    since: HashMap<SpaceId, i64>,
}

impl Empty {
    /// Those that were found without a node at `now`; returns which were so from `before` on.
    fn found(&mut self, found: Vec<SpaceId>, now: i64, before: i64) -> Vec<SpaceId> {
        let known = std::mem::take(&mut self.since);
        let since = |id: SpaceId| known.get(&id).map_or(now, |since| *since.min(&now));
        self.since = found.into_iter().map(|id| (id, since(id))).collect();
        let long = self.since.iter().filter(|(_, since)| **since <= before);
        let mut long: Vec<SpaceId> = long.map(|(id, _)| *id).collect();
        long.sort_unstable();
        long
    }
}

impl Evictor {
    /// Removes groups that have had no node since `before`.
    async fn sweep(&self, empty: &mut Empty, before: i64, lease: &Lease) -> Result<(), StoreError> {
        empty.rounds += 1;
        if empty.rounds < SWEEP_EVERY {
            return Ok(());
        }
        empty.rounds = 0;
        if !lease.take().await? {
            empty.since.clear();
            return Ok(());
        }
        let now = self.clock.now_ms();
        let gone = empty.found(self.store.empty_spaces().await?, now, before);
        self.store.mark_gone(&gone, now).await?;
        if !gone.is_empty() {
            counter!(GROUPS).increment(u64::try_from(gone.len()).unwrap_or(u64::MAX));
            info!(groups = gone.len(), "groups without nodes were removed");
        }
        Ok(())
    }

    async fn round(
        &self,
        before: Since,
        lease: &Lease,
        scope: &Scope,
    ) -> Result<Evicted, StoreError> {
        let mut all = Evicted::default();
        while !scope.is_draining() {
            if !lease.take().await? {
                break;
            }
            let mut silent = self.store.silent(before, BATCH_NODES).await?;
            // It came back; its keepalive is about to be written.
            silent.retain(|node| !self.nodes.is_fresh(*node, before));
            silent.sort_unstable();
            let Evicted { nodes, keys } = self.store.evict(&silent, before, BATCH_KEYS).await?;
            counter!(NODES).increment(nodes);
            counter!(KEYS).increment(keys);
            all.nodes += nodes;
            all.keys += keys;
            if nodes == 0 && keys == 0 {
                break;
            }
            tokio::time::sleep(TRANSACTION_INTERVAL).await;
        }
        Ok(all)
    }
}
