//! A fast keyed hash for tables that every find reads a few hundred times.
//!
//! Addresses come from callers, so the hash is keyed with random numbers per process: nobody can
//! choose addresses that collide.
//!
//! Eight neighbours in address order lie side by side in a table. A find goes through neighbours, and
//! would otherwise wait for the memory at each.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes hashers with the same two random numbers.
#[derive(Debug, Clone)]
pub(crate) struct QuickHash {
    first: u64,
    second: u64,
}

#[derive(Debug)]
pub(crate) struct QuickHasher {
    state: u64,
    second: u64,
    near: u8,
}

impl Default for QuickHash {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            first: random.hash_one(1),
            second: random.hash_one(2) | 1,
        }
    }
}

impl BuildHasher for QuickHash {
    type Hasher = QuickHasher;

    fn build_hasher(&self) -> QuickHasher {
        QuickHasher {
            state: self.first,
            second: self.second,
            near: 0,
        }
    }
}

impl QuickHasher {
    fn mix(&mut self, part: u64) {
        // Both halves of the product: every bit of what goes in reaches every bit of one of them.
        let product = u128::from(self.state ^ part) * u128::from(self.second);
        let [low, high] = [product & u128::from(u64::MAX), product >> 64];
        let half = |half| u64::try_from(half).unwrap_or(u64::MAX);
        self.state = half(low) ^ half(high) ^ part.rotate_left(32);
    }
}

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut part = [0; 8];
            for (to, from) in part.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.mix(u64::from_le_bytes(part));
        }
    }

    /// The last three bits of an address.
    fn write_u8(&mut self, near: u8) {
        self.near = near & 0b111;
    }

    fn write_u16(&mut self, number: u16) {
        self.mix(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(u64::try_from(number).unwrap_or(u64::MAX));
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * u128::from(self.second);
        let half = |half| u64::try_from(half).unwrap_or(u64::MAX);
        let hash = half(product >> 64) ^ half(product & u128::from(u64::MAX));
        // The table picks the slot by the lowest bits, and tells entries of one slot apart by the
        // highest.
        let near = u64::from(self.near);
        (hash & !0b111 | near) ^ (near << 61)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        packed::Packed,
        store::{NodeKey, SpaceId},
    };

    fn node(n: u32) -> NodeKey {
        NodeKey {
            space: SpaceId(1),
            holder: Packed::new(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into(), 7787),
        }
    }

    #[test]
    fn addresses_are_scattered_over_all_bits() {
        let hash = QuickHash::default();
        // Of each eight neighbours one.
        let hashes: Vec<u64> = (0..65_536).map(|n| hash.hash_one(node(n * 8))).collect();
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        for shift in [3, 8, 16, 24, 32, 40, 48, 56] {
            let mut counts = [0_u32; 256];
            for hash in &hashes {
                let byte = hash >> shift & 0xff;
                if let Some(count) = counts.get_mut(usize::try_from(byte).unwrap_or(0)) {
                    *count += 1;
                }
            }
            // 256 are expected of each, and 16 more or less.
            let even = counts.iter().all(|count| (128..512).contains(count));
            assert!(even, "bits {shift} and up: {counts:?}");
        }
    }

    /// A table picks the slot by the lowest bits, and tells entries apart by the highest seven.
    #[test]
    fn eight_neighbours_lie_side_by_side_and_are_told_apart() {
        let hash = QuickHash::default();
        for eight in 0..100 {
            let hashes = (0..8).map(|n| hash.hash_one(node(eight * 8 + n)));
            let [places, tags]: [HashSet<u64>; 2] = [
                hashes.clone().map(|h| h >> 3 & 0xffff).collect(),
                hashes.map(|h| h >> 57).collect(),
            ];
            assert_eq!((places.len(), tags.len()), (1, 8));
        }
    }
}
