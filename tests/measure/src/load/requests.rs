//! The requests of a load, one after the other.

use crate::{calls, numbers::index};

/// Requests to be sent in turns, or made one by one.
#[derive(Debug)]
pub(crate) enum Requests {
    /// Made beforehand; after the last comes the first.
    Pool { all: Vec<Vec<u8>>, next: usize },
    /// Advertisements of keys that nobody has yet, by these nodes in turns.
    New {
        nodes: Vec<u32>,
        next: usize,
        number: u64,
    },
}

/// Keys of one advertisement.
pub(super) const ADVERTISED: u32 = 10;

impl Requests {
    /// Writes the next one.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Pool { all, next } => {
                out.extend_from_slice(all.get(*next).map(Vec::as_slice).unwrap_or_default());
                *next = if *next + 1 < all.len() { *next + 1 } else { 0 };
            }
            Self::New {
                nodes,
                next,
                number,
            } => {
                let node = nodes.get(*next).copied().unwrap_or_default();
                *next = if *next + 1 < nodes.len() {
                    *next + 1
                } else {
                    0
                };
                let keys: Vec<_> = (*number..).take(index(ADVERTISED)).collect();
                *number += u64::from(ADVERTISED);
                out.extend_from_slice(&calls::advertise(node, &keys, None));
            }
        }
    }
}
