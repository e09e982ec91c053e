//! One upstream fetch of an object at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::digest::Digest;

/// Entries of objects that nobody fetches any more are dropped when there are as many.
const TIDY: usize = 256;

/// Who may fetch which object.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Digest, Weak<Semaphore>>>);

/// The right to fetch an object, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    waited: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Waits for the turn; in the order of asking.
    pub(super) async fn take(&self, digest: &Digest) -> Turn {
        let turn = self.of(digest);
        if let Ok(permit) = Arc::clone(&turn).try_acquire_owned() {
            return Turn {
                waited: false,
                _permit: Some(permit),
            };
        }
        Turn {
            waited: true,
            // Closed is what these semaphores never are.
            _permit: turn.acquire_owned().await.ok(),
        }
    }

    fn of(&self, digest: &Digest) -> Arc<Semaphore> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(digest).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= TIDY {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Semaphore::new(1));
        turns.insert(digest.clone(), Arc::downgrade(&turn));
        turn
    }
}

impl Turn {
    /// Whether another one fetched the object meanwhile.
    pub(super) fn waited(&self) -> bool {
        self.waited
    }
}
