//! About how many holders keys had when they were last read.
//!
//! A key that has few is read in one stretch of the index, as rows; one that has more as one long
//! value, which costs the database less than so many rows and more than few; of one that has many
//! only the neighbours of each requester are read. It is a hint only: keys share its places.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::key_hash::KeyHash;

#[derive(Debug)]
pub(super) struct Lengths(Box<[AtomicU8]>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Length {
    /// Or unknown.
    Few,
    More,
    Many,
}

/// A key's place is named by this many of its bits.
const BITS: u32 = 16;

impl Default for Lengths {
    fn default() -> Self {
        Self((0..1_usize << BITS).map(|_| AtomicU8::default()).collect())
    }
}

impl Lengths {
    pub(super) fn get(&self, key: KeyHash) -> Length {
        match self.place(key).map(|place| place.load(Relaxed)) {
            None | Some(0) => Length::Few,
            Some(1) => Length::More,
            Some(_) => Length::Many,
        }
    }

    pub(super) fn set(&self, key: KeyHash, length: Length) {
        if let Some(place) = self.place(key) {
            let number = match length {
                Length::Few => 0,
                Length::More => 1,
                Length::Many => 2,
            };
            place.store(number, Relaxed);
        }
    }

    fn place(&self, key: KeyHash) -> Option<&AtomicU8> {
        let [first, second, ..] = key.0;
        self.0.get(usize::from(u16::from_be_bytes([first, second])))
    }
}
