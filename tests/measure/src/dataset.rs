//! The nodes of a large cluster and the keys that they hold: the same in each run.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{numbers::index, random::Random, zipf::Zipf};

/// The port that every agent serves its peers on.
pub(crate) const PORT: u16 = 7787;

/// Nodes in racks of 40, each with some of 100,000 digests by their popularity (Zipf).
///
/// With 400 keys each, the most popular digests are on every node, the 100th on two nodes of five, the last on one of
/// two thousand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dataset {
    /// How many nodes.
    pub nodes: u32,
    /// How many keys each of them has.
    pub keys: u32,
}

impl Dataset {
    /// The group that all nodes are in.
    pub const GROUP: &'static str = "bench";
    /// Keys of a node with a few dozen images.
    pub const KEYS: u32 = 400;
    /// Digests of the whole cluster.
    pub const DIGESTS: u32 = 100_000;
    /// Nodes of a rack.
    pub const RACK: u32 = 40;

    /// 10.x.y.1 and so on; a rack has a /24 of its own.
    pub fn address(node: u32) -> Ipv4Addr {
        let [_, _, high, low] = (node / Self::RACK).to_be_bytes();
        let [_, _, _, host] = (node % Self::RACK + 1).to_be_bytes();
        Ipv4Addr::new(10, high, low, host)
    }

    /// Where a node serves its peers.
    pub fn holder(node: u32) -> String {
        format!("{}:{PORT}", Self::address(node))
    }

    /// The 32 bytes of a digest. Numbers below [`Self::DIGESTS`] are held, the lowest by the most
    /// nodes; all above are new to the cluster.
    pub fn digest(number: u64) -> [u8; 32] {
        let mut random = Random::new(number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let mut bytes = [0; 32];
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&random.next().to_be_bytes());
        }
        bytes
    }

    /// A digest as agents spell it.
    pub fn key(number: u64) -> String {
        format!("sha256:{}", hex::encode(Self::digest(number)))
    }

    /// Popularity of the digests.
    pub(crate) fn popularity() -> Zipf {
        Zipf::new(Self::DIGESTS)
    }

    /// The numbers of the digests that a node has, the lowest first.
    pub(crate) fn keys_of(&self, popularity: &Zipf, node: u32) -> Vec<u32> {
        let mut random = Random::new(u64::from(node) << 32);
        let mut has = HashSet::with_capacity(index(self.keys));
        while has.len() < index(self.keys.min(Self::DIGESTS)) {
            has.insert(popularity.draw(&mut random));
        }
        let mut keys: Vec<_> = has.into_iter().collect();
        keys.sort_unstable();
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn racks_have_networks_of_their_own() {
        let addresses = [0, 39, 40, 40 * 256].map(|node| Dataset::address(node).to_string());
        assert_eq!(addresses, ["10.0.0.1", "10.0.0.40", "10.0.1.1", "10.1.0.1"]);
    }

    #[test]
    fn the_first_digest_is_everywhere_and_the_hundredth_on_two_of_five() {
        let popularity = Dataset::popularity();
        let dataset = Dataset {
            nodes: 500,
            keys: 400,
        };
        let sets: Vec<_> = (0..500)
            .map(|node| dataset.keys_of(&popularity, node))
            .collect();
        let with = |key: u32| sets.iter().filter(|set| set.contains(&key)).count();
        assert!(sets.iter().all(|set| set.len() == 400));
        assert!(with(0) >= 499, "{}", with(0));
        assert!((150..250).contains(&with(99)), "{}", with(99));
    }
}
