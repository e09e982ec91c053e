//! One at a time for each name.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

/// Who has the turn, until this is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

/// The names that are being asked about: of several requests of this node one asks.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<Queue<()>>>>);

impl Turns {
    /// Waits for the others that have the same name.
    pub(super) async fn turn(&self, name: &str) -> Turn {
        let queue = {
            let mut queues = self.0.lock();
            queues.retain(|_, queue| queue.strong_count() > 0);
            let known = queues.get(name).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let queue = Arc::new(Queue::new(()));
                queues.insert(name.to_owned(), Arc::downgrade(&queue));
                queue
            })
        };
        queue.lock_owned().await
    }
}
