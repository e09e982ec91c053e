//! About how many holders keys had when they were last loaded: which query is likely to fit.
//!
//! A small set is loaded as rows. A medium one is loaded packed into one value, which costs the database
//! less than that many rows, and more than few. Of a large one only the neighbours of each requester are
//! loaded. The table is of fixed size and keys share its slots, so it may be wrong: a query that does not
//! fit is followed by the next one.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::key_hash::KeyHash;

#[derive(Debug)]
pub(super) struct SizeHints(Box<[AtomicU8]>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SizeHint {
    /// Or unknown.
    Small,
    Medium,
    Large,
}

/// Bits of a key that choose its slot.
const BITS: u32 = 16;

impl Default for SizeHints {
    fn default() -> Self {
        Self((0..1_usize << BITS).map(|_| AtomicU8::default()).collect())
    }
}

impl SizeHints {
    pub(super) fn get(&self, key: KeyHash) -> SizeHint {
        match self.slot(key).map(|slot| slot.load(Relaxed)) {
            None | Some(0) => SizeHint::Small,
            Some(1) => SizeHint::Medium,
            Some(_) => SizeHint::Large,
        }
    }

    pub(super) fn set(&self, key: KeyHash, hint: SizeHint) {
        if let Some(slot) = self.slot(key) {
            let number = match hint {
                SizeHint::Small => 0,
                SizeHint::Medium => 1,
                SizeHint::Large => 2,
            };
            slot.store(number, Relaxed);
        }
    }

    fn slot(&self, key: KeyHash) -> Option<&AtomicU8> {
        let [first, second, ..] = key.0;
        self.0.get(usize::from(u16::from_be_bytes([first, second])))
    }
}
