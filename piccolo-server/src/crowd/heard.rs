//! Keys of which it is known who asks the registry for them, or has them all: while an instance is new to
//! deciding for a key, nobody else is sent there before that is known.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use piccolo_api::{Fetch, Turn, Verdict};
use swarm::Key;

use crate::instances::Tenure;

/// What was heard for longer ago than an instance is ever new is not needed any more.
const KEPT: Duration = Duration::from_secs(10);
/// How long who waits for it waits at most before asking again.
const AGAIN: Duration = Duration::from_millis(500);

/// Keys, and when a permit for them or a whole copy of them was last heard of.
#[derive(Debug, Default)]
pub(super) struct Heard {
    keys: Mutex<HashMap<Key, Duration>>,
    waits: AtomicU64,
}

impl Heard {
    pub(super) fn note(&self, key: Key, now: Duration) {
        self.keys.lock().insert(key, now);
    }

    /// Another instance hears of the key now.
    pub(super) fn drop(&self, key: Key) {
        self.keys.lock().remove(&key);
    }

    pub(super) fn forget(&self, now: Duration) {
        let mut heard = self.keys.lock();
        heard.retain(|_, at| now.saturating_sub(*at) < KEPT);
    }

    /// How many were told to wait here, and not by the rules.
    pub(super) fn waits(&self) -> u64 {
        self.waits.load(Relaxed)
    }

    /// Whether this instance has yet to hear of the key, and for how long it may have to.
    pub(super) fn lacks(&self, key: Key, tenure: Tenure) -> Option<Duration> {
        match tenure {
            Tenure::New(left) => (!self.keys.lock().contains_key(&key)).then_some(left),
            Tenure::Settled => None,
        }
    }

    /// What who asks is told where this instance has yet to hear of the key.
    pub(super) fn wait(&self, key: Key, tenure: Tenure, fetch: &Fetch) -> Option<Turn> {
        let left = self.lacks(key, tenure)?;
        self.waits.fetch_add(1, Relaxed);
        let wait_ms = u32::try_from(left.min(AGAIN).as_millis()).unwrap_or(u32::MAX);
        let verdict = Verdict::Wait {
            wait_ms: wait_ms.max(1),
        };
        Some(Turn {
            rank: fetch.rank,
            verdict,
        })
    }
}
