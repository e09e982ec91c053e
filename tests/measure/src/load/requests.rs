//! The requests of a load, one after the other.

use crate::{Dataset, calls, numbers::index, random::Random, zipf::Zipf};

/// Requests to be sent in turns, or made one by one.
#[derive(Debug)]
pub(crate) enum Requests {
    /// Finds by nodes that are drawn for each anew, as the keys are.
    Finds {
        dataset: Dataset,
        random: Random,
        popularity: Popularity,
    },
    /// Made beforehand; after the last comes the first.
    Pool { all: Vec<Vec<u8>>, next: usize },
    /// Advertisements of keys that nobody has yet, by these nodes in turns.
    New {
        nodes: Vec<u32>,
        next: usize,
        number: u64,
    },
}

/// Which digests are asked for.
#[derive(Debug)]
pub(crate) enum Popularity {
    /// The n-th most popular one 1/n as often as the first.
    Zipf(Zipf),
    /// A number of keys from a rank on, each as often as the others.
    Even { from: u32, ranks: u32 },
}

/// Holders that a find asks for.
const COUNT: u32 = 100;

/// Keys of one advertisement.
pub(super) const ADVERTISED: u32 = 10;

impl Requests {
    /// Writes the next one.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Finds {
                dataset,
                random,
                popularity,
            } => {
                let rank = popularity.draw(random);
                let node = random.below(dataset.nodes);
                out.extend_from_slice(&calls::find(rank.into(), COUNT, node));
            }
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

impl Popularity {
    fn draw(&self, random: &mut Random) -> u32 {
        match self {
            Self::Zipf(zipf) => zipf.draw(random),
            Self::Even { from, ranks } => from + random.below(*ranks),
        }
    }
}
