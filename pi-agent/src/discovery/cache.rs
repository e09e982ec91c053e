//! Finds that were answered before they were asked.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use piccolo_api::{Found, Holder, Key, Peer};
use tokio::time::Instant;

/// Longest time that an answer is good for: the children of a manifest follow within seconds, and
/// the ranking spreads load only over answers that are fresh.
const FOUND_TTL: Duration = Duration::from_secs(15);
/// During a roll-out somebody has it soon.
const NOBODY_TTL: Duration = Duration::from_secs(1);
/// Answers kept at once.
const CAPACITY: usize = 2048;

#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<Key, Answer>>);

#[derive(Debug)]
struct Answer {
    until: Instant,
    peers: Vec<Peer>,
}

impl Cache {
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<Vec<Peer>> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.get(key)?;
        if answer.until > now {
            return Some(answer.peers.clone());
        }
        answers.remove(key);
        None
    }

    pub(crate) fn put(&self, found: Vec<Found>, now: Instant) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() + found.len() > CAPACITY {
            answers.retain(|_, answer| answer.until > now);
        }
        for Found { key, peers } in found {
            let (Ok(key), true) = (key.parse(), answers.len() < CAPACITY) else {
                continue;
            };
            let ttl = if peers.is_empty() {
                NOBODY_TTL
            } else {
                FOUND_TTL
            };
            answers.insert(
                key,
                Answer {
                    until: now + ttl,
                    peers,
                },
            );
        }
    }

    /// A peer that failed is not handed out from memory again.
    pub(crate) fn forget(&self, holder: Holder) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|_, answer| {
            let before = answer.peers.len();
            answer.peers.retain(|peer| peer.addr != holder);
            before == 0 || !answer.peers.is_empty()
        });
    }
}
