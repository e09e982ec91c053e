//! Evicts the holdings of nodes that have been silent for long.
//!
//! One instance at a time does it, under a lease in the database. It waits for a full timeout after
//! its own start, and after the process was suspended, because keepalives could not arrive before.
//! It also waits after a database outage: other instances may have keepalives that they have yet to
//! write.

use std::{sync::Arc, time::Duration};

use daemon::{
    clock::{Clock, as_ms},
    metric::Metric,
    scope::Scope,
    telemetry,
};
use metrics::counter;
use tracing::{debug, info};

use crate::{
    lease::Lease,
    nodes::Nodes,
    store::{Evicted, Store, StoreError, Writer},
};

const NODES: &str = "piccolo_server_evicted_nodes_total";
const KEYS: &str = "piccolo_server_evicted_keys_total";

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
];

/// Number of timeouts after which a silent node is removed. Until then it can return with its old set.
const TIMEOUTS: i64 = 3;

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
    pub(crate) timeout: Duration,
}

/// Evicts until the scope drains.
pub(crate) async fn run(evictor: Evictor, scope: Scope) {
    let every = (evictor.timeout / 8).clamp(Duration::from_millis(100), Duration::from_secs(10));
    let timeout = as_ms(evictor.timeout);
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
    loop {
        tokio::select! {
            () = scope.draining() => break,
            () = tokio::time::sleep(every) => {}
        }
        let now = evictor.clock.now_ms();
        if now - last_round > timeout {
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
        let before = now.saturating_sub(timeout.saturating_mul(TIMEOUTS));
        match evictor.round(before, &lease, &scope).await {
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

impl Evictor {
    async fn round(
        &self,
        before: i64,
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
