//! Keys whose permit holder or complete holder is known. An instance that is new to deciding for a key
//! gives no permit for it before that is known.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use piccolo_api::{Fetch, Turn, Verdict};
use swarm::Key;

use crate::instances::Tenure;

/// Entries older than any instance's learning period are dropped.
const MAX_AGE: Duration = Duration::from_secs(10);
/// Longest retry interval told to a waiting node.
const MAX_RETRY: Duration = Duration::from_millis(500);

/// Keys, and when a node last reported a permit for or a whole copy of them.
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
        heard.retain(|_, at| now.saturating_sub(*at) < MAX_AGE);
    }

    /// Number of requesters that were told to wait here, and not by the rules.
    pub(super) fn waits(&self) -> u64 {
        self.waits.load(Relaxed)
    }

    /// The rest of the learning period, if this instance has not heard of the key yet.
    pub(super) fn lacks(&self, key: Key, tenure: Tenure) -> Option<Duration> {
        match tenure {
            Tenure::New(left) => (!self.keys.lock().contains_key(&key)).then_some(left),
            Tenure::Settled => None,
        }
    }

    /// Answer for a requester while this instance has not yet heard of the key.
    pub(super) fn wait(&self, key: Key, tenure: Tenure, fetch: &Fetch) -> Option<Turn> {
        let left = self.lacks(key, tenure)?;
        self.waits.fetch_add(1, Relaxed);
        let wait_ms = u32::try_from(left.min(MAX_RETRY).as_millis()).unwrap_or(u32::MAX);
        let verdict = Verdict::Wait {
            wait_ms: wait_ms.max(1),
        };
        Some(Turn {
            rank: fetch.rank,
            verdict,
        })
    }
}
