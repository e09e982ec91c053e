//! Changes of the shared set that were not sent to the server yet.

use std::collections::HashMap;

use parking_lot::Mutex;
use piccolo_api::Key;
use tokio::{sync::Notify, time::Instant};

use super::delta::Delta;

/// With more changes than this, the whole set is cheaper. Not an LRU cache: a change that was evicted
/// would be lost.
const CAPACITY: usize = 20_000;

#[derive(Debug, Default)]
pub(crate) struct Pending {
    state: Mutex<Unsent>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Unsent {
    /// The latest change of each key.
    changes: HashMap<Key, Fate>,
    /// When the first of them happened.
    since: Option<Instant>,
    overflown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Added,
    Removed,
}

impl Pending {
    pub(crate) fn put(&self, added: Vec<Key>, removed: Vec<Key>) {
        let mut state = self.state.lock();
        state
            .changes
            .extend(removed.into_iter().map(|key| (key, Fate::Removed)));
        state
            .changes
            .extend(added.into_iter().map(|key| (key, Fate::Added)));
        state.since.get_or_insert_with(Instant::now);
        if state.changes.len() > CAPACITY {
            state.changes = HashMap::new();
            state.overflown = true;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Takes at most `most` changes, with the time of the first; `None` when there are so many that
    /// a sync has to do it.
    pub(crate) fn take(&self, most: usize) -> Option<(Delta, Instant)> {
        let mut state = self.state.lock();
        if state.overflown {
            return None;
        }
        let keys: Vec<_> = state.changes.keys().take(most).cloned().collect();
        let mut delta = Delta::default();
        for key in keys {
            match state.changes.remove(&key) {
                Some(Fate::Added) => delta.added.push(key),
                Some(Fate::Removed) => delta.removed.push(key),
                None => {}
            }
        }
        let since = state.since.unwrap_or_else(Instant::now);
        if state.changes.is_empty() {
            state.since = None;
        }
        Some((delta, since))
    }

    /// Puts back changes that could not be sent; newer changes of the same keys win.
    pub(crate) fn restore(&self, delta: Delta, since: Instant) {
        let mut state = self.state.lock();
        state.since = Some(since);
        let removed = delta.removed.into_iter().map(|key| (key, Fate::Removed));
        let added = delta.added.into_iter().map(|key| (key, Fate::Added));
        for (key, fate) in removed.chain(added) {
            state.changes.entry(key).or_insert(fate);
        }
    }

    /// A sync includes all changes.
    pub(crate) fn clear(&self) {
        *self.state.lock() = Unsent::default();
    }

    pub(crate) fn len(&self) -> usize {
        let state = self.state.lock();
        state.changes.len() + usize::from(state.overflown)
    }

    /// Ends when something was put since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
