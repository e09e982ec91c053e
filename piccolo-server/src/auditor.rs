//! Compares the stored sets of all nodes with what the nodes' rows say of them, a few each second.
//!
//! One instance at a time does it, under a lease in the database.

use std::{sync::Arc, time::Duration};

use daemon::{clock::Clock, metric::Metric, scope::Scope, spell::Spell, telemetry};
use metrics::counter;
use tracing::{debug, warn};

use crate::{
    lease::Lease,
    store::{Audited, NodeKey, Stamp, Store, StoreError, Writer},
};

const NODES: &str = "piccolo_server_audited_nodes_total";
const MENDED: &str = "piccolo_server_audit_mismatches_total";

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[
    Metric::counter(
        NODES,
        &[],
        "Nodes whose stored sets this instance compared with their rows.",
    ),
    Metric::counter(
        MENDED,
        &[],
        "Nodes whose rows did not match their stored sets, and were corrected. The nodes are asked for \
         their sets.",
    ),
];

/// Interval of audits, and the nodes of one. 50,000 nodes take seven hours.
const EVERY: Duration = Duration::from_secs(1);
const BATCH: u32 = 2;
/// Interval at which the lease is taken again, or tried for.
const RENEW: u32 = 30;
/// The lease ends by itself when the instance that has it dies.
const LEASE: &str = "audit";
const LEASE_MS: i64 = 90_000;

#[derive(Debug)]
pub(crate) struct Auditor {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) writer: Writer,
}

/// Audits until the scope drains.
pub(crate) async fn run(auditor: Auditor, scope: Scope) {
    let mismatches = Spell::new("stored sets match their nodes' rows again");
    let lease = Lease {
        store: Arc::clone(&auditor.store),
        clock: auditor.clock.clone(),
        writer: auditor.writer,
        name: LEASE,
        lasts_ms: LEASE_MS,
    };
    let mut last = None;
    let mut lease_left = 0;
    loop {
        tokio::select! {
            () = scope.draining() => break,
            () = tokio::time::sleep(EVERY) => {}
        }
        if lease_left == 0 {
            // Without it another instance does it, or the database is away, which is logged elsewhere.
            if !lease.take().await.unwrap_or(false) {
                tokio::select! {
                    () = scope.draining() => break,
                    () = tokio::time::sleep(EVERY * RENEW) => {}
                }
                continue;
            }
            lease_left = RENEW;
        }
        lease_left -= 1;
        match auditor.step(last).await {
            Ok(audited) => {
                last = audited.last;
                counter!(NODES).increment(audited.nodes);
                tell(&audited, &mismatches);
            }
            Err(error) => debug!(error = %telemetry::chain(&error), "no set was audited"),
        }
    }
    if lease_left > 0 {
        lease.give_back().await;
    }
}

impl Auditor {
    async fn step(&self, after: Option<NodeKey>) -> Result<Audited, StoreError> {
        let stamp = Stamp {
            at: self.clock.now_ms(),
            writer: Writer::NOBODY,
        };
        self.store.audit(after, BATCH, stamp).await
    }
}

fn tell(audited: &Audited, mismatches: &Spell) {
    for node in &audited.mended {
        counter!(MENDED).increment(1);
        let holder = node.holder;
        mismatches.happened(|times| {
            warn!(?holder, times, "the database had another set of this node than its row said; the node is asked for its set");
        });
    }
}
