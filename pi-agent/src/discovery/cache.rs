//! Cached finds, filled by the prefetch.

use std::{num::NonZeroUsize, time::Duration};

use lru::LruCache;
use parking_lot::Mutex;
use piccolo_api::{Found, Holder, Key, Peer};
use tokio::time::Instant;

/// Longest time that an answer is good for: the children of a manifest follow within seconds, and
/// the ranking spreads load only over answers that are fresh.
const FOUND_TTL: Duration = Duration::from_secs(15);
/// TTL of an empty answer: during a roll-out there is a holder soon.
const NOBODY_TTL: Duration = Duration::from_secs(1);
/// Answers kept at once; the oldest goes first.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(2048).expect("not zero");

#[derive(Debug)]
pub(crate) struct Cache(Mutex<LruCache<Key, Answer>>);

#[derive(Debug)]
struct Answer {
    until: Instant,
    peers: Vec<Peer>,
}

impl Default for Cache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CAPACITY)))
    }
}

impl Cache {
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<Vec<Peer>> {
        let mut answers = self.0.lock();
        let answer = answers.peek(key)?;
        if answer.until > now {
            return Some(answer.peers.clone());
        }
        answers.pop(key);
        None
    }

    pub(crate) fn put(&self, found: Vec<Found>, now: Instant) {
        let mut answers = self.0.lock();
        for Found { key, peers, .. } in found {
            let Ok(key) = key.parse() else {
                continue;
            };
            let ttl = if peers.is_empty() {
                NOBODY_TTL
            } else {
                FOUND_TTL
            };
            let until = now + ttl;
            answers.put(key, Answer { until, peers });
        }
    }

    /// A peer that failed is not handed out from memory again.
    pub(crate) fn forget(&self, holder: Holder) {
        let mut answers = self.0.lock();
        let mut emptied = Vec::new();
        for (key, answer) in answers.iter_mut() {
            let before = answer.peers.len();
            answer.peers.retain(|peer| peer.addr != holder);
            if before > 0 && answer.peers.is_empty() {
                emptied.push(key.clone());
            }
        }
        for key in emptied {
            answers.pop(&key);
        }
    }
}
