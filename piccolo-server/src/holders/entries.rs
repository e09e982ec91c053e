//! The entries of all keys that were requested lately, within a bound of memory.
//!
//! Eviction is second chance (CLOCK): entries stand in a queue, and when there is no more room, the
//! first one is evicted, unless it was requested since its last turn. Then it goes to the end of the
//! queue. So does an entry in use: a load in flight may still let it grow, and its bytes have to be
//! counted here.
//!
//! A library's cache was not taken: an entry's weight changes while others hold it, from tasks that do not
//! have the lock of the table, and one in use must not be evicted.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::entry::Entry;
use crate::{key_hash::KeyHash, quick_hash::QuickHash, store::SpaceId};

type Key = (SpaceId, KeyHash);

/// Number of entries, and their memory in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheSize {
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Entries {
    by_key: HashMap<Key, Arc<Entry>, QuickHash>,
    /// Each entry's key once.
    turns: VecDeque<Key>,
    bytes: usize,
    budget: usize,
}

impl Entries {
    /// Uses about `budget` bytes at most.
    pub(super) fn new(budget: usize) -> Self {
        Self {
            by_key: HashMap::default(),
            turns: VecDeque::new(),
            bytes: 0,
            budget,
        }
    }

    /// The entry of a key that is requested, made where there is none.
    pub(super) fn entry(&mut self, key: Key) -> Arc<Entry> {
        if let Some(entry) = self.by_key.get(&key) {
            entry.reference();
            return Arc::clone(entry);
        }
        let entry = Arc::new(Entry::default());
        self.by_key.insert(key, Arc::clone(&entry));
        self.turns.push_back(key);
        self.resize(0, entry.bytes());
        entry
    }

    /// The entry of a key, if there is one.
    pub(super) fn get(&self, key: Key) -> Option<Arc<Entry>> {
        self.by_key.get(&key).cloned()
    }

    pub(super) fn size(&self) -> CacheSize {
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        CacheSize {
            keys: number(self.by_key.len()),
            bytes: number(self.bytes),
        }
    }

    /// An entry in use has changed its size from `before` to `now` bytes.
    pub(super) fn resize(&mut self, before: usize, now: usize) {
        self.bytes = (self.bytes + now).saturating_sub(before);
        for _ in 0..self.turns.len().saturating_mul(2) {
            if self.bytes <= self.budget {
                return;
            }
            self.take_turn();
        }
    }

    fn take_turn(&mut self) {
        let Some(key) = self.turns.pop_front() else {
            return;
        };
        let Some(entry) = self.by_key.get(&key) else {
            return;
        };
        if entry.take_referenced() || Arc::strong_count(entry) > 1 {
            self.turns.push_back(key);
            return;
        }
        self.bytes = self.bytes.saturating_sub(entry.bytes());
        self.by_key.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        (SpaceId(1), KeyHash::of(&n.to_string()))
    }

    #[test]
    fn what_is_requested_stays_and_the_rest_is_evicted() {
        let bytes = Entry::default().bytes();
        let mut table = Entries::new(100 * bytes);
        for n in 0..1000 {
            table.entry(key(n));
            table.entry(key(7));
            assert!(table.bytes <= 100 * bytes);
            assert_eq!(table.by_key.len(), table.turns.len());
        }
        assert!(table.get(key(7)).is_some());
        assert!(table.get(key(999)).is_some());
        assert!(table.get(key(8)).is_none());
        assert!(table.by_key.len() > 90, "{}", table.by_key.len());
    }

    #[test]
    fn an_entry_in_use_stays_however_little_room_there_is() {
        let bytes = Entry::default().bytes();
        let mut table = Entries::new(10 * bytes);
        let used: Vec<_> = (0..20).map(|n| table.entry(key(n))).collect();
        assert_eq!(table.by_key.len(), 20);
        drop(used);
        table.entry(key(20));
        assert_eq!(table.by_key.len(), 10);
    }
}
