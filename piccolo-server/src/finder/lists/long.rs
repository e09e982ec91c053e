//! Which keys had more holders than one short query reads, when they were last read.
//!
//! A key that had few is read in one stretch of the index, which costs the database half of what the
//! two stretches round a requester do; one that had many is not tried that way again. It is a hint
//! only: keys share its places.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::key_hash::KeyHash;

#[derive(Debug)]
pub(super) struct Long(Box<[AtomicBool]>);

/// A key's place is named by this many of its bits.
const BITS: u32 = 16;

impl Default for Long {
    fn default() -> Self {
        Self(
            (0..1_usize << BITS)
                .map(|_| AtomicBool::default())
                .collect(),
        )
    }
}

impl Long {
    pub(super) fn is(&self, key: KeyHash) -> bool {
        self.place(key).is_some_and(|place| place.load(Relaxed))
    }

    pub(super) fn set(&self, key: KeyHash, long: bool) {
        if let Some(place) = self.place(key) {
            place.store(long, Relaxed);
        }
    }

    fn place(&self, key: KeyHash) -> Option<&AtomicBool> {
        let [first, second, ..] = key.0;
        self.0.get(usize::from(u16::from_be_bytes([first, second])))
    }
}
