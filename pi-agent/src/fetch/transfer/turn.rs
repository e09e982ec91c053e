//! One upstream fetch of an object at a time, and what is known of those who wait for theirs.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::digest::Digest;

/// Entries of objects that nobody fetches any more are dropped when there are as many.
const TIDY: usize = 256;

/// The turns of all objects.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Digest, Weak<Flight>>>);

/// A fetch of one object, shared by its requests. It lasts as long as one of them.
#[derive(Debug)]
pub(crate) struct Flight {
    turn: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The right to fetch an object, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    waited: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Where a request stands among those for the same object.
#[derive(Debug)]
pub(crate) struct QueuePosition {
    flight: Arc<Flight>,
    turn: Option<Turn>,
}

impl Turns {
    /// The flight of an object; a new one where nobody fetches it.
    pub(crate) fn flight(&self, digest: &Digest) -> Arc<Flight> {
        let mut flights = self.0.lock();
        if let Some(flight) = flights.get(digest).and_then(Weak::upgrade) {
            return flight;
        }
        if flights.len() >= TIDY {
            flights.retain(|_, flight| flight.strong_count() > 0);
        }
        let flight = Arc::new(Flight {
            turn: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
        });
        flights.insert(digest.clone(), Arc::downgrade(&flight));
        flight
    }
}

impl Flight {
    /// Waits for the turn; in the order of asking.
    pub(crate) async fn turn(&self) -> Turn {
        if let Ok(permit) = Arc::clone(&self.turn).try_acquire_owned() {
            return Turn {
                waited: false,
                _permit: Some(permit),
            };
        }
        let _waiting = Waiting::new(&self.waiting);
        Turn {
            waited: true,
            // These semaphores are never closed.
            _permit: Arc::clone(&self.turn).acquire_owned().await.ok(),
        }
    }

    /// Whether others wait for their turn.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

impl QueuePosition {
    /// It has the turn.
    pub(crate) fn new(flight: Arc<Flight>, turn: Turn) -> Self {
        Self {
            flight,
            turn: Some(turn),
        }
    }

    /// The object's flight.
    pub(super) fn flight(&self) -> &Flight {
        &self.flight
    }

    /// Lets others have their turn.
    pub(super) fn give_up(&mut self) {
        self.turn = None;
    }
}

impl Turn {
    /// Whether another one fetched the object meanwhile.
    pub(crate) fn waited(&self) -> bool {
        self.waited
    }
}

/// Counts a request that waits, also when it is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    fn digest() -> crate::digest::Digest {
        format!("sha256:{}", "a".repeat(64)).parse().unwrap()
    }

    #[tokio::test]
    async fn turns_are_taken_one_after_the_other() {
        let turns = Turns::default();
        let first = turns.flight(&digest());
        let held = first.turn().await;
        assert!(!held.waited() && !first.is_awaited());
        let second = turns.flight(&digest());
        let wait = second.turn();
        tokio::pin!(wait);
        tokio::select! {
            biased;
            _ = &mut wait => panic!("two at a time"),
            () = tokio::task::yield_now() => {}
        }
        assert!(first.is_awaited());
        drop(held);
        assert!(wait.await.waited());
        assert!(!first.is_awaited());
    }
}
