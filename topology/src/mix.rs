//! The hash that spreads requesters over equal holders, and keys of this crate's tables.
//!
//! The order inside a tier has to be the same on every instance and in every release, which the
//! standard library's hasher does not promise; it is no defence against chosen keys, so the tables
//! that use it are bounded.

use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

pub(crate) type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Mixer>>;

/// Folds one word into a state: the 128-bit product's halves, as in wyhash.
pub(crate) fn fold(state: u64, word: u64) -> u64 {
    let product =
        u128::from(state ^ 0x9e37_79b9_7f4a_7c15) * u128::from(word ^ 0xd6e8_feb8_6659_fd93);
    let (low, high) = halves(product);
    low ^ high ^ state.rotate_left(29)
}

/// A hash of bytes, the same on every machine.
pub(crate) fn bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        state = fold(state, u64::from_le_bytes(word));
    }
    fold(state, u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// A hash of an address, the same on every machine.
pub(crate) fn address(state: u64, ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(v4) => fold(state, u64::from(v4.to_bits())),
        IpAddr::V6(v6) => {
            let (low, high) = halves(v6.to_bits());
            fold(fold(state, low), high)
        }
    }
}

fn halves(wide: u128) -> (u64, u64) {
    let low = wide & u128::from(u64::MAX);
    (
        u64::try_from(low).unwrap_or(0),
        u64::try_from(wide >> 64).unwrap_or(0),
    )
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, input: &[u8]) {
        self.0 = bytes(self.0, input);
    }

    fn write_u8(&mut self, word: u8) {
        self.0 = fold(self.0, u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0, word);
    }

    fn write_isize(&mut self, word: isize) {
        self.0 = fold(self.0, word.unsigned_abs().try_into().unwrap_or(u64::MAX));
    }
}
