//! Finding the children of a manifest while the manifest is still on its way to containerd.

use daemon::scope::Scope;
use parking_lot::Mutex;
use piccolo_api::Key;
use tokio::{sync::Notify, time::Instant};

use super::Discovery;

/// Keys that wait in the queue; further keys are found when they are requested.
const CAPACITY: usize = 1024;
/// Keys of one call.
const BATCH: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Queue {
    keys: Mutex<Vec<Key>>,
    filled: Notify,
}

impl Queue {
    pub(super) fn push(&self, keys: Vec<Key>) {
        let mut waiting = self.keys.lock();
        let room = CAPACITY.saturating_sub(waiting.len());
        waiting.extend(keys.into_iter().take(room));
        self.filled.notify_one();
    }

    fn pop(&self) -> Vec<Key> {
        let mut waiting = self.keys.lock();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }
}

impl Discovery {
    /// Answers the queue until the scope drains.
    pub(super) async fn prefetching(self, scope: Scope) {
        loop {
            tokio::select! {
                () = scope.draining() => return,
                () = self.0.queue.filled.notified() => {}
            }
            loop {
                let keys = self.0.queue.pop();
                if keys.is_empty() {
                    break;
                }
                if let Some(found) = self.find_all(&keys).await {
                    self.0.cache.put(found, Instant::now());
                }
            }
        }
    }
}
