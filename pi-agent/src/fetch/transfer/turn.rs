//! One upstream fetch of an object at a time, and what is known of those who wait for theirs.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::digest::Digest;

/// Entries of objects that nobody fetches any more are dropped when there are as many.
const TIDY: usize = 256;
/// Most starts of ranges that are remembered of one object.
const STARTS: usize = 1024;

/// The turns of all objects.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Digest, Weak<Flight>>>);

/// A fetch of one object, shared by its requests. It lasts as long as one of them.
#[derive(Debug)]
pub(crate) struct Flight {
    turn: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Where open-ended ranges of it begin.
    starts: Mutex<BTreeSet<u64>>,
    /// Wakes requests that wait for another start.
    begun: Notify,
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
            starts: Mutex::default(),
            begun: Notify::new(),
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

    /// An open-ended range begins at `start`.
    pub(crate) fn begins(&self, start: u64) {
        let mut starts = self.starts.lock();
        if starts.len() < STARTS {
            starts.insert(start);
        }
        drop(starts);
        self.begun.notify_waiters();
    }

    /// Waits until ranges begin at two places.
    pub(super) async fn company(&self) {
        loop {
            let begun = self.begun.notified();
            if self.count() > 1 {
                return;
            }
            begun.await;
        }
    }

    fn count(&self) -> usize {
        let starts = self.starts.lock();
        starts.len()
    }

    /// Where the next range after the one at `start` begins.
    pub(super) fn next_start(&self, start: u64) -> Option<u64> {
        let starts = self.starts.lock();
        starts.range(start.saturating_add(1)..).next().copied()
    }

    /// Where the range that begins at `start` will be broken off, as far as can be told.
    ///
    /// A client that fetches an object by several open-ended ranges at once, as containerd 2 does,
    /// reads each up to where the next one begins. The last one will be as long as the others.
    pub(super) fn ends(&self, start: u64) -> Option<u64> {
        if let Some(next) = self.next_start(start) {
            return Some(next);
        }
        let starts = self.starts.lock();
        let gaps = starts.iter().zip(starts.iter().skip(1));
        let shortest = gaps.map(|(a, b)| b - a).min()?;
        Some(start.saturating_add(shortest))
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

    /// Waits for the turn again.
    pub(super) async fn regain(&mut self) {
        self.turn = Some(self.flight.turn().await);
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

    #[test]
    fn a_range_ends_where_the_next_begins() {
        let flight = Turns::default().flight(&digest());
        flight.begins(0);
        assert_eq!(flight.ends(0), None);
        flight.begins(8);
        flight.begins(16);
        assert_eq!(flight.ends(0), Some(8));
        assert_eq!(flight.ends(8), Some(16));
        assert_eq!(flight.ends(16), Some(24));
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
