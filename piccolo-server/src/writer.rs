//! The tasks that write changes, many in one transaction.
//!
//! Changes queue while a transaction is in flight, and all go into the next one: the busier the
//! server, the larger the transactions. A caller is answered when its change is committed.
//!
//! A store that writes several transactions at a time has as many lanes, each with a task of its
//! own. All changes of a node go by the same lane, so that no two lanes want the same rows.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use daemon::{clock::Clock, metric::Metric, spell::Spell, telemetry};
use metrics::{counter, histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::warn;

use crate::{
    holders::HolderCache,
    nodes::{Admission, Nodes, Stored},
    store::{Change, ChangeKind, ChangeOutcome, NodeKey, Stamp, Store, StoreError, Taken, Writer},
};

const BATCH: &str = "piccolo_server_batch_changes";
const BATCH_KEYS: &str = "piccolo_server_batch_keys";
const REFUSED: &str = "piccolo_server_changes_refused_total";

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[
    Metric::histogram(
        BATCH,
        &[],
        "Changes of nodes' sets that were written in one transaction.",
    ),
    Metric::histogram(
        BATCH_KEYS,
        &[],
        "Keys that were added or removed by one transaction.",
    ),
    Metric::counter(
        REFUSED,
        &[],
        "Changes that were refused because too many were waiting.",
    ),
];

/// Accepts changes; the tasks end when its last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    lanes: Arc<[mpsc::Sender<Job>]>,
    hash: RandomState,
    /// One permit for each change and each key that may wait.
    room: Arc<Semaphore>,
}

/// Bounds of the queues and of one transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Calls that may wait.
    pub(crate) queue: usize,
    /// Keys of all calls that wait.
    pub(crate) waiting_keys: usize,
    /// Keys of one transaction, as long as one call alone has not more.
    pub(crate) keys: usize,
    /// Keys of one node.
    pub(crate) keys_per_node: u32,
}

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// Too many calls wait already.
    #[error("too many changes are waiting to be written")]
    Full,
    /// The server is going down.
    #[error("the server is going down")]
    Closed,
    /// The database refused.
    #[error("the change could not be stored")]
    Store(#[source] Arc<StoreError>),
}

/// What the tasks work with.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) holders: Arc<HolderCache>,
    pub(crate) clock: Clock,
    pub(crate) writer: Writer,
    pub(crate) bounds: Bounds,
    /// Rate-limits the log line about batches that the store refused.
    pub(crate) refusals: Arc<Spell>,
}

#[derive(Debug)]
struct Job {
    change: Change,
    reply: oneshot::Sender<Result<ChangeOutcome, ChangeError>>,
    room: OwnedSemaphorePermit,
    /// For what may make a node, or keys.
    admission: Option<Admission>,
}

#[derive(Debug)]
pub(crate) struct Queue(mpsc::Receiver<Job>);

/// The queues of `lanes` lanes.
pub(crate) fn queues(bounds: Bounds, lanes: usize) -> (Changes, Vec<Queue>) {
    let each = bounds.queue.div_ceil(lanes);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..lanes).map(|_| mpsc::channel(each)).unzip();
    let changes = Changes {
        lanes: senders.into(),
        hash: RandomState::new(),
        room: Arc::new(Semaphore::new(bounds.waiting_keys)),
    };
    (changes, receivers.into_iter().map(Queue).collect())
}

impl Changes {
    /// Has a change written; returns when it is committed.
    pub(crate) async fn apply(
        &self,
        change: Change,
        admission: Option<Admission>,
    ) -> Result<ChangeOutcome, ChangeError> {
        let weight = u32::try_from(weight(&change)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(weight);
        let room = room.map_err(|_full| full())?;
        let (reply, outcome) = oneshot::channel();
        let job = Job {
            change,
            reply,
            room,
            admission,
        };
        let lane = self.lane(job.change.node).ok_or(ChangeError::Closed)?;
        lane.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => full(),
            mpsc::error::TrySendError::Closed(_) => ChangeError::Closed,
        })?;
        outcome.await.unwrap_or(Err(ChangeError::Closed))
    }

    fn lane(&self, node: NodeKey) -> Option<&mpsc::Sender<Job>> {
        let hash = usize::try_from(self.hash.hash_one(node) >> 32).unwrap_or_default();
        self.lanes.get(hash.checked_rem(self.lanes.len())?)
    }
}

fn full() -> ChangeError {
    counter!(REFUSED).increment(1);
    ChangeError::Full
}

/// Writes until the last sender of changes is dropped.
pub(crate) async fn run(mut queue: Queue, work: Work) {
    let mut held_back = Vec::new();
    loop {
        let batch = gather(&mut queue.0, &mut held_back, work.bounds).await;
        if !batch.is_empty() {
            commit(batch, &work).await;
        } else if queue.0.is_closed() && queue.0.is_empty() && held_back.is_empty() {
            return;
        }
    }
}

/// Collects waiting changes that fit into one transaction. A second change of the same node has to
/// see the first one committed, so it is held back.
async fn gather(
    queue: &mut mpsc::Receiver<Job>,
    held_back: &mut Vec<Job>,
    bounds: Bounds,
) -> Vec<Job> {
    let mut nodes = HashSet::new();
    let mut batch = Vec::new();
    let mut keys = 0;
    // A caller that is gone was promised nothing, and will most likely retry.
    let is_wanted = |job: &Job| !job.reply.is_closed();
    let mut waiting = std::mem::take(held_back).into_iter();
    while waiting.len() == 0 && batch.is_empty() {
        match queue.recv().await {
            Some(job) if is_wanted(&job) => {
                keys += weight(&job.change);
                nodes.insert(job.change.node);
                batch.push(job);
            }
            Some(_) => {}
            None => return batch,
        }
    }
    while keys < bounds.keys {
        let Some(job) = waiting.next().or_else(|| queue.try_recv().ok()) else {
            break;
        };
        if !is_wanted(&job) {
            continue;
        }
        if nodes.insert(job.change.node) {
            keys += weight(&job.change);
            batch.push(job);
        } else {
            held_back.push(job);
            if held_back.len() >= bounds.queue {
                break;
            }
        }
    }
    held_back.extend(waiting);
    batch
}

fn count(outcomes: &[ChangeOutcome]) {
    let applied = outcomes.iter().filter_map(ChangeOutcome::applied);
    let changed = applied.map(|applied| applied.added.len() + applied.removed.len());
    let float = |count: usize| u32::try_from(count).map_or(f64::INFINITY, f64::from);
    histogram!(BATCH).record(float(outcomes.len()));
    histogram!(BATCH_KEYS).record(float(changed.sum()));
}

fn weight(change: &Change) -> usize {
    1 + match &change.kind {
        ChangeKind::Delta { added, removed } => added.len() + removed.len(),
        ChangeKind::Replace(keys) => keys.len(),
        ChangeKind::Leave | ChangeKind::Return => 0,
    }
}

async fn commit(batch: Vec<Job>, work: &Work) {
    let at = work.clock.now_ms();
    let (changes, replies): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|job| (job.change, (job.reply, job.room, job.admission)))
        .unzip();
    match work
        .store
        .write(
            &changes,
            Taken {
                stamp: Stamp {
                    at,
                    writer: work.writer,
                },
                alive_since: work.nodes.alive_since(at).own,
                keys_per_node: work.bounds.keys_per_node,
            },
        )
        .await
    {
        Ok(outcomes) => {
            work.refusals.is_well();
            count(&outcomes);
            let replies = changes.iter().zip(replies);
            for ((change, (reply, _room, admission)), outcome) in replies.zip(outcomes) {
                if let ChangeOutcome::Done(applied) = &outcome {
                    let stored = Stored {
                        at,
                        source: admission.as_ref().map(Admission::source),
                        written: applied.written,
                        state: change.kind.state(),
                        version: applied.version,
                        agent: applied.agent,
                        before: applied.before(),
                        held: applied.held,
                    };
                    // Another instance changed its set or evicted it. This instance's write has
                    // overwritten the stamp that would have shown it.
                    if !work.nodes.stored(change.node, &stored) {
                        work.holders.invalidate();
                    }
                    work.holders.apply_write(change.node, applied);
                }
                // What it took room for is counted now.
                drop(admission);
                // A caller that is gone has no use for the answer.
                let _ = reply.send(Ok(outcome));
            }
        }
        Err(error) => {
            // Nothing is lost: the callers retry.
            work.refusals.happened(|times| {
                let error = telemetry::chain(&error);
                warn!(%error, changes = changes.len(), times, "changes are refused");
            });
            // A commit whose reply was lost may have been applied.
            work.holders.invalidate();
            let error = Arc::new(error);
            for (reply, ..) in replies {
                let _ = reply.send(Err(ChangeError::Store(Arc::clone(&error))));
            }
        }
    }
}
