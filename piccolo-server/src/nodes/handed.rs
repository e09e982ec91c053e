//! Which holders finds lately named to which nodes: only who was sent to a node can say that it fails.
//!
//! Two Bloom filters in turn, each for a period: a pair costs two bits, whatever the number of nodes. A
//! filter is wrong at times in saying that a pair is in it, never in saying that it is not.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::atomic::{
        AtomicI64, AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

use crate::store::NodeKey;

/// Milliseconds after which the older filter is forgotten: a pair is known for this long, and at most
/// for twice as long.
const PERIOD_MS: i64 = 300_000;
/// Words of each filter: 2 MiB. Two million pairs, 50,000 nodes with 40 holders each, set a quarter of its
/// bits, and then one in twenty of the pairs that are not in it is taken for one that is.
const WORDS: u64 = 1 << 18;

/// Pairs of a node that asked and a node that it was told.
#[derive(Debug)]
pub(super) struct HandedTo {
    hash: RandomState,
    filters: [Box<[AtomicU64]>; 2],
    /// Number of the period that is being written, from the Unix epoch on.
    period: AtomicI64,
    /// When this instance knew nothing, and when another one last wrote.
    blind: AtomicI64,
}

impl HandedTo {
    pub(super) fn new() -> Self {
        let filter = || (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Self {
            hash: RandomState::new(),
            filters: [filter(), filter()],
            period: AtomicI64::new(0),
            blind: AtomicI64::new(i64::MIN),
        }
    }

    /// What other instances named lately is not known here, or what this one did before it started.
    pub(super) fn is_blind(&self, now: i64) -> bool {
        // A clock that was ahead is put right.
        let since = self.blind.fetch_min(now, Relaxed).min(now);
        since == i64::MIN || now.saturating_sub(since) < 2 * PERIOD_MS
    }

    /// At `now` this instance begins, or another one hands out nodes too.
    pub(super) fn blinded(&self, now: i64) {
        self.blind.store(now, Relaxed);
    }

    /// A find of the node at `asker` named `node`.
    pub(super) fn add(&self, asker: IpAddr, node: NodeKey, now: i64) {
        let period = self.turn(now);
        let (word, bits) = self.place(asker, node);
        if let Some(word) = self.filter(period).get(word) {
            word.fetch_or(bits, Relaxed);
        }
    }

    /// Whether one did lately.
    pub(super) fn has(&self, asker: IpAddr, node: NodeKey, now: i64) -> bool {
        let period = self.turn(now);
        let (word, bits) = self.place(asker, node);
        let has = |period| {
            let word = self.filter(period).get(word);
            word.is_some_and(|word| word.load(Relaxed) & bits == bits)
        };
        has(period) || has(period - 1)
    }

    /// The period at `now`; clears what is older than the one before. A caller that read its clock before
    /// the turn of another one turns nothing back; a clock that was ahead is put right.
    fn turn(&self, now: i64) -> i64 {
        let new = now.div_euclid(PERIOD_MS);
        let old = self.period.load(Acquire);
        let is_late = new == old - 1;
        if new != old
            && !is_late
            && self
                .period
                .compare_exchange(old, new, AcqRel, Relaxed)
                .is_ok()
        {
            self.clear(new);
            if new != old + 1 {
                self.clear(new - 1);
            }
        }
        new
    }

    fn clear(&self, period: i64) {
        for word in self.filter(period) {
            word.store(0, Relaxed);
        }
    }

    fn filter(&self, period: i64) -> &[AtomicU64] {
        let [even, odd] = &self.filters;
        if period.rem_euclid(2) == 0 { even } else { odd }
    }

    /// A word, and two bits of it.
    fn place(&self, asker: IpAddr, node: NodeKey) -> (usize, u64) {
        let hash = self.hash.hash_one((asker.to_canonical(), node));
        let bits = 1 << (hash & 63) | 1 << (hash >> 6 & 63);
        let word = usize::try_from((hash >> 12) % WORDS).unwrap_or_default();
        (word, bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{packed::Packed, store::SpaceId};

    #[test]
    fn a_late_caller_forgets_nothing() {
        let handed = HandedTo::new();
        let [asker, other] = [1, 2].map(|n: u32| IpAddr::from(n.to_be_bytes()));
        let node = NodeKey {
            space: SpaceId(1),
            holder: Packed::new(other, 1),
        };
        let now = 1000 * PERIOD_MS;
        handed.add(asker, node, now - 1);
        handed.add(asker, node, now);
        assert!(handed.has(asker, node, now - 1) && handed.has(asker, node, now));
        handed.add(other, node, now - 1);
        assert!(handed.has(other, node, now));
    }

    #[test]
    fn a_pair_is_known_for_a_period_at_least() {
        let handed = HandedTo::new();
        let ip = |n: u32| IpAddr::from(n.to_be_bytes());
        let node = |n| NodeKey {
            space: SpaceId(1),
            holder: Packed::new(ip(n), 1),
        };
        let now = 1000 * PERIOD_MS + PERIOD_MS / 2;
        for n in 0..100 {
            handed.add(ip(1), node(n), now);
        }
        let known = |asker, now| {
            (0..100)
                .filter(|n| handed.has(ip(asker), node(*n), now))
                .count()
        };
        assert_eq!(known(1, now), 100);
        assert_eq!(known(1, now + PERIOD_MS), 100);
        assert_eq!(known(2, now + PERIOD_MS), 0);
        assert_eq!(known(1, now + 2 * PERIOD_MS), 0);
    }
}
