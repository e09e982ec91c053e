//! Writes keepalives to the database, and reads those that other instances wrote.
//!
//! A keepalive is written only if the one in the database is old, or has another state. So other
//! instances may declare a silent node dead up to that age too early, and never too late.

use std::{sync::Arc, time::Duration};

use daemon::{
    clock::Clock,
    metric::{Label, Metric},
    readiness::Readiness,
    spell::Spell,
    telemetry,
};
use metrics::gauge;
use tokio::{sync::mpsc, time::Instant};
use tracing::{info, warn};

use crate::{
    holders::{CacheSize, HolderCache},
    nodes::{Census, Nodes},
    patience::Patience,
    spaces::Spaces,
    store::{Connections, NodeRow, Stamp, Store, StoreError, Writer},
};

const NODES: &str = "piccolo_server_nodes";
const GO_NODES: &str = "piccolo_server_go_nodes";
const KEYS: &str = "piccolo_server_keys";
const CONNECTIONS: &str = "piccolo_server_database_connections";
const CACHED: &str = "piccolo_server_find_cache_keys";
const CACHE_BYTES: &str = "piccolo_server_find_cache_bytes";
const UP: &str = "piccolo_server_database_up";

const DATABASE: Label = (
    "database",
    "the group that has a database of its own, or `default`",
);

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[
    Metric::gauge(
        NODES,
        &[
            DATABASE,
            (
                "state",
                "`up`, `silent` (for longer than `--node-timeout`, or `--go-node-timeout`), `left` (said that it goes), \
                 `broken` (peers said so)",
            ),
        ],
        "Nodes that are known; only those that are `up` are handed out.",
    ),
    Metric::gauge(
        GO_NODES,
        &[DATABASE],
        "Nodes that are up and number nothing that they announce, as Go agents: `--go-node-timeout` is theirs.",
    ),
    Metric::gauge(
        KEYS,
        &[DATABASE],
        "Keys of all nodes, each for each of its holders.",
    ),
    Metric::gauge(
        CONNECTIONS,
        &[DATABASE, ("state", "`idle`, `used`")],
        "Connections to the database and its replicas.",
    ),
    Metric::gauge(
        CACHED,
        &[DATABASE],
        "Keys whose holders, or the lack of them, are cached.",
    ),
    Metric::gauge(
        CACHE_BYTES,
        &[DATABASE],
        "Memory of the cached holders of keys; second-chance (CLOCK) eviction at 40 MiB.",
    ),
    Metric::gauge(UP, &[DATABASE], "Whether the database answers: 1, or 0."),
];

/// How much later than its stamp another instance's row may become visible.
const SLACK_MS: i64 = 3_000;

/// Interval between full reads of all nodes, which find rows that became visible later still, and
/// rows of instances whose clocks differ.
const ALL_MS: i64 = 60_000;

/// Divisor of the timeout: the largest age of a keepalive in the database.
const LAZINESS: i64 = 16;

/// Divisor of the timeout: how long no instance writes times of the future before they are taken back. One
/// that is alive writes sooner, with each keepalive of any node.
const WAIT: i64 = 2;

/// Timeouts after which a silent node is forgotten: before its group may be taken away, so that a
/// group with nodes in memory is there.
const FORGOTTEN: i64 = 3;

#[derive(Debug)]
pub(crate) struct Flusher {
    /// What the metrics call the database.
    pub(crate) name: Arc<str>,
    pub(crate) readiness: Readiness,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) holders: Arc<HolderCache>,
    pub(crate) spaces: Arc<Spaces>,
    pub(crate) clock: Clock,
    pub(crate) writer: Writer,
    pub(crate) patience: Patience,
    pub(crate) every: Duration,
    /// The log lines about clocks that differ.
    pub(crate) clocks: Spell,
}

/// How far the other instances' rows were read.
#[derive(Debug, Clone, Copy)]
struct Read {
    since: i64,
    all: i64,
    ahead: Ahead,
}

/// Times of other instances that are ahead of this one's clock.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    /// The latest.
    latest: i64,
    /// When it last grew, by this clock. While it grows, an instance writes such times: which of the clocks
    /// is wrong is not known.
    grew: i64,
}

/// Flushes until `open` ends, after which no keepalive can arrive; and once more then.
pub(crate) async fn run(flusher: Flusher, mut open: mpsc::Receiver<()>) {
    let now = flusher.clock.now_ms();
    let mut read = Read {
        since: now,
        all: now,
        // What others write is not known yet.
        ahead: Ahead {
            latest: i64::MIN,
            grew: now,
        },
    };
    let mut forgot = now;
    let mut is_up = true;
    let condition = format!("database {}", flusher.name);
    loop {
        let last = tokio::select! {
            _ = open.recv() => true,
            () = tokio::time::sleep(flusher.every) => false,
        };
        match flusher.round(read, last).await {
            Ok(done) => {
                read = done;
                if !is_up {
                    info!(database = &*flusher.name, "the database is back");
                }
                is_up = true;
                flusher.readiness.good(condition.clone(), "");
            }
            Err(error) => {
                let error = telemetry::chain(&error).to_string();
                if is_up || last {
                    warn!(database = &*flusher.name, %error, "keepalives are not shared");
                }
                is_up = false;
                // Read all rows, this instance's own included: they may have changed during the
                // outage.
                read.all = i64::MIN;
                flusher.holders.invalidate();
                // Degraded, not bad: finds go on from memory, and a server that is not ready gets
                // no calls.
                flusher.readiness.degraded(condition.clone(), error);
            }
        }
        let now = flusher.clock.now_ms();
        forgot = forgot.min(now);
        if now.saturating_sub(forgot) >= ALL_MS.min(flusher.patience.own()) {
            forgot = now;
            flusher.forget(now);
        }
        flusher.count(is_up);
        if last {
            return;
        }
    }
}

impl Flusher {
    async fn round(&self, read: Read, last: bool) -> Result<Read, StoreError> {
        let now = self.clock.now_ms();
        // Read before writing: this instance's write may overwrite what others wrote.
        let read = if last {
            read
        } else {
            self.read(read, now).await?
        };
        let timeout = self.patience.own();
        let wait = timeout / WAIT;
        if self.nodes.settle(now) && now.saturating_sub(read.ahead.grew) >= wait {
            self.rewind(now, read.ahead.grew).await?;
        }
        let lazy = if last { 0 } else { timeout / LAZINESS };
        let seen = self.nodes.take_unwritten(lazy);
        if !seen.is_empty() {
            let stamp = Stamp {
                at: now,
                writer: self.writer,
            };
            if let Err(error) = self.store.touch(&seen, stamp).await {
                self.nodes.put_back(&seen);
                return Err(error);
            }
        }
        Ok(read)
    }

    /// Takes back the times that the database has of a clock that was ahead, which no later keepalive would
    /// replace, to when they were last written.
    async fn rewind(&self, now: i64, to: i64) -> Result<(), StoreError> {
        let stamp = Stamp {
            at: now,
            writer: self.writer,
        };
        let nodes = self.store.rewind(self.nodes.latest(now), to, stamp).await?;
        self.nodes.rewound(now, to);
        if nodes > 0 {
            warn!(
                database = &*self.name,
                nodes, "the clock of an instance was ahead: its times were taken back"
            );
        }
        Ok(())
    }

    /// Reads what other instances wrote since `read`.
    async fn read(&self, mut read: Read, now: i64) -> Result<Read, StoreError> {
        // The clock was set back.
        if now < read.since.saturating_sub(SLACK_MS) {
            read.all = i64::MIN;
            read.ahead.grew = now;
        }
        let begun = Instant::now();
        let known = self.spaces.known();
        self.spaces.replace(&known, self.store.spaces().await?);
        let others_wrote = if now.saturating_sub(read.all) < ALL_MS {
            let since = read.since.saturating_sub(SLACK_MS);
            let rows = self.store.nodes_of_others(since, self.writer).await?;
            self.nodes.merge(&rows, now);
            read.ahead = self.ahead(read.ahead, &rows, now);
            if !rows.is_empty() {
                self.nodes.others_answer(now);
            }
            !rows.is_empty()
        } else {
            read.all = now;
            self.nodes.merge(&self.store.nodes().await?, now)
        };
        if others_wrote {
            self.holders.invalidate();
        } else {
            self.holders.revalidate(begun);
        }
        read.since = now;
        Ok(read)
    }

    fn ahead(&self, known: Ahead, rows: &[NodeRow], now: i64) -> Ahead {
        let latest = rows.iter().map(|row| row.seen).max();
        match latest.filter(|latest| *latest > self.nodes.latest(now)) {
            Some(latest) if latest > known.latest => {
                self.clocks.happened(|times| {
                    warn!(
                        database = &*self.name, times, ahead_ms = latest.saturating_sub(now),
                        "another instance writes times of the future: its clock is wrong, or this one's"
                    );
                });
                Ahead { latest, grew: now }
            }
            _ => {
                self.clocks.is_well();
                known
            }
        }
    }

    /// Also runs while the database is away, when nodes are still added.
    fn forget(&self, now: i64) {
        self.nodes.forget(self.patience.over(now, FORGOTTEN));
    }

    fn count(&self, is_up: bool) {
        let database = || metrics::SharedString::from(Arc::clone(&self.name));
        let Census {
            up,
            silent,
            left,
            broken,
            go,
            keys,
        } = self.nodes.census(self.clock.now_ms());
        for (state, nodes) in [
            ("up", up),
            ("silent", silent),
            ("left", left),
            ("broken", broken),
        ] {
            gauge!(NODES, "database" => database(), "state" => state).set(float(nodes));
        }
        gauge!(GO_NODES, "database" => database()).set(float(go));
        let Connections { open, idle } = self.store.connections();
        let used = open.saturating_sub(idle);
        for (state, connections) in [("idle", idle), ("used", used)] {
            gauge!(CONNECTIONS, "database" => database(), "state" => state)
                .set(f64::from(connections));
        }
        gauge!(KEYS, "database" => database()).set(float(keys));
        let CacheSize { keys, bytes } = self.holders.size();
        gauge!(CACHED, "database" => database()).set(float(keys));
        gauge!(CACHE_BYTES, "database" => database()).set(float(bytes));
        gauge!(UP, "database" => database()).set(if is_up { 1.0 } else { 0.0 });
    }
}

/// Exact below 2^52, which no count here comes near.
fn float(count: u64) -> f64 {
    let [high, low] = [count >> 32, count & 0xffff_ffff];
    let part = |part| f64::from(u32::try_from(part).unwrap_or(u32::MAX));
    part(high) * 4_294_967_296.0 + part(low)
}
