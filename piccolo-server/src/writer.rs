//! The task that writes changes, many in one transaction.
//!
//! Changes queue while a transaction is under way and all go into the next one: the busier the
//! server, the larger the transactions. A caller has its answer when its change is committed.

use std::{collections::HashSet, sync::Arc};

use daemon::{clock::Clock, telemetry};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::{
    finder::Lists,
    nodes::Nodes,
    store::{Change, ChangeKind, NodeState, Outcome, Stamp, Store, StoreError, Writer},
};

/// Takes changes; the task ends when the last of these is gone.
#[derive(Debug, Clone)]
pub(crate) struct Changes(mpsc::Sender<Job>);

/// Bounds of the queue and of one transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Calls that may wait.
    pub(crate) queue: usize,
    /// Keys of one transaction, as long as one call alone has not more.
    pub(crate) keys: usize,
}

/// Why a change was not taken.
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

/// What the task works with.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) lists: Arc<Lists>,
    pub(crate) clock: Clock,
    pub(crate) writer: Writer,
    pub(crate) bounds: Bounds,
}

#[derive(Debug)]
struct Job {
    change: Change,
    reply: oneshot::Sender<Result<Outcome, ChangeError>>,
}

#[derive(Debug)]
pub(crate) struct Queue(mpsc::Receiver<Job>);

pub(crate) fn queue(bounds: Bounds) -> (Changes, Queue) {
    let (sender, receiver) = mpsc::channel(bounds.queue);
    (Changes(sender), Queue(receiver))
}

impl Changes {
    /// Has a change written; returns when it is committed.
    pub(crate) async fn apply(&self, change: Change) -> Result<Outcome, ChangeError> {
        let (reply, outcome) = oneshot::channel();
        self.0
            .try_send(Job { change, reply })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => ChangeError::Full,
                mpsc::error::TrySendError::Closed(_) => ChangeError::Closed,
            })?;
        outcome.await.unwrap_or(Err(ChangeError::Closed))
    }
}

/// Writes until nobody can send changes any more.
pub(crate) async fn run(mut queue: Queue, work: Work) {
    let mut held_back = Vec::new();
    loop {
        let batch = gather(&mut queue.0, &mut held_back, work.bounds).await;
        if batch.is_empty() {
            return;
        }
        commit(batch, &work).await;
    }
}

/// What waits, as far as it fits into one transaction. A second change of the same node has to
/// see the first one committed, and is held back.
async fn gather(
    queue: &mut mpsc::Receiver<Job>,
    held_back: &mut Vec<Job>,
    bounds: Bounds,
) -> Vec<Job> {
    let mut nodes = HashSet::new();
    let mut batch = Vec::new();
    let mut keys = 0;
    let mut waiting = std::mem::take(held_back).into_iter();
    if waiting.len() == 0 {
        match queue.recv().await {
            Some(job) => {
                keys += weight(&job.change);
                nodes.insert(job.change.node);
                batch.push(job);
            }
            None => return batch,
        }
    }
    while keys < bounds.keys {
        let Some(job) = waiting.next().or_else(|| queue.try_recv().ok()) else {
            break;
        };
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

fn weight(change: &Change) -> usize {
    1 + match &change.kind {
        ChangeKind::Delta { added, removed } => added.len() + removed.len(),
        ChangeKind::Replace(keys) => keys.len(),
        ChangeKind::Leave => 0,
    }
}

async fn commit(batch: Vec<Job>, work: &Work) {
    let at = i64::try_from(work.clock.now().as_millis()).unwrap_or(i64::MAX);
    let (changes, replies): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|job| (job.change, job.reply)).unzip();
    match work
        .store
        .write(
            &changes,
            Stamp {
                at,
                writer: work.writer,
            },
        )
        .await
    {
        Ok(outcomes) => {
            for ((change, reply), outcome) in changes.iter().zip(replies).zip(outcomes) {
                if let Outcome::Done(applied) = &outcome {
                    let state = match change.kind {
                        ChangeKind::Leave => NodeState::Left,
                        ChangeKind::Delta { .. } | ChangeKind::Replace(_) => NodeState::Up,
                    };
                    work.nodes.stored(change.node, at, state, applied.version);
                    work.lists.stored(change.node, applied);
                }
                // A caller that is gone has no use for the answer.
                let _ = reply.send(Ok(outcome));
            }
        }
        Err(error) => {
            warn!(error = %telemetry::chain(&error), changes = changes.len(), "changes are lost");
            let error = Arc::new(error);
            for reply in replies {
                let _ = reply.send(Err(ChangeError::Store(Arc::clone(&error))));
            }
        }
    }
}
