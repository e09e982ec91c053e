//! The slots of all keys that were asked for lately, within a bound of memory.
//!
//! When there is no more room, whichever was not asked for since its last turn makes some: one that
//! was goes to the end of the queue once more.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{cache::Size, entry::Slot};
use crate::{key_hash::KeyHash, quick_hash::QuickHash, store::SpaceId};

type Key = (SpaceId, KeyHash);

#[derive(Debug)]
pub(super) struct Table {
    slots: HashMap<Key, Arc<Slot>, QuickHash>,
    /// Each slot's key once.
    turns: VecDeque<Key>,
    bytes: usize,
    budget: usize,
}

impl Table {
    /// Takes about `budget` bytes at most.
    pub(super) fn new(budget: usize) -> Self {
        Self {
            slots: HashMap::default(),
            turns: VecDeque::new(),
            bytes: 0,
            budget,
        }
    }

    /// The slot of a key that is asked for, made where there is none.
    pub(super) fn slot(&mut self, key: Key) -> Arc<Slot> {
        if let Some(slot) = self.slots.get(&key) {
            slot.ask();
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot::default());
        self.slots.insert(key, Arc::clone(&slot));
        self.turns.push_back(key);
        self.resize(0, slot.bytes());
        slot
    }

    /// The slot of a key, if there is one.
    pub(super) fn get(&self, key: Key) -> Option<Arc<Slot>> {
        self.slots.get(&key).cloned()
    }

    pub(super) fn size(&self) -> Size {
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        Size {
            keys: number(self.slots.len()),
            bytes: number(self.bytes),
        }
    }

    /// A slot that somebody has takes so many bytes now, and took so many before.
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
        let Some(slot) = self.slots.get(&key) else {
            return;
        };
        // Whoever has it now may still let it grow, and that would be of a slot that is not here.
        if slot.was_asked() || Arc::strong_count(slot) > 1 {
            self.turns.push_back(key);
            return;
        }
        self.bytes = self.bytes.saturating_sub(slot.bytes());
        self.slots.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        (SpaceId(1), KeyHash::of(&n.to_string()))
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_makes_room() {
        let bytes = Slot::default().bytes();
        let mut table = Table::new(100 * bytes);
        for n in 0..1000 {
            table.slot(key(n));
            table.slot(key(7));
            assert!(table.bytes <= 100 * bytes);
            assert_eq!(table.slots.len(), table.turns.len());
        }
        assert!(table.get(key(7)).is_some());
        assert!(table.get(key(999)).is_some());
        assert!(table.get(key(8)).is_none());
        assert!(table.slots.len() > 90, "{}", table.slots.len());
    }

    #[test]
    fn a_slot_in_use_stays_however_little_room_there_is() {
        let bytes = Slot::default().bytes();
        let mut table = Table::new(10 * bytes);
        let used: Vec<_> = (0..20).map(|n| table.slot(key(n))).collect();
        assert_eq!(table.slots.len(), 20);
        drop(used);
        table.slot(key(20));
        assert_eq!(table.slots.len(), 10);
    }
}
