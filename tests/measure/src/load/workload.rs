//! The calls that a server is measured with.

use serde::{Deserialize, Serialize};

use super::requests::{ADVERTISED, Popularity, Requests};
use crate::{
    Dataset, calls,
    numbers::{index, wide},
    random::Random,
    zipf::Zipf,
};

/// Requests that are made beforehand.
const POOL: u32 = 50_000;
/// Nodes whose whole sets are sent: their requests are large.
const SYNCING: u32 = 2000;
/// Nodes whose sets change, fewer, as each has two.
const CHANGING: u32 = 500;
/// Of a set the part that a sync changes.
const CHANGED: usize = 40;
/// Keys and holders of one find of several keys.
const BATCH: (usize, u32) = (8, 10);

/// One kind of call.
///
/// Nodes that sync what they have, sync changes, advertise news and advertise what is there are
/// different ones, so that one kind of call does not change what another does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// Finds of keys by their popularity.
    FindMix,
    /// Finds of one of the 100 most popular keys.
    FindPopular,
    /// Finds of one of the less popular half of the keys.
    FindTail,
    /// Finds of eight keys at once, ten holders of each.
    FindBatch,
    /// Keepalives.
    Keepalive,
    /// Advertisements of ten keys that the node has.
    AdvertisePresent,
    /// Advertisements of ten keys that nobody has.
    AdvertiseNew,
    /// Syncs of a set as it is stored.
    SyncSame,
    /// Syncs of a set of which a tenth is other than what is stored.
    SyncChanged,
}

/// Which of four nodes do what.
#[derive(Clone, Copy)]
enum Part {
    SyncSame,
    SyncChanged,
    AdvertiseNew,
    AdvertisePresent,
}

impl Workload {
    pub(super) fn requests(self, dataset: &Dataset, seed: u32) -> Requests {
        let maker = Maker {
            dataset,
            popularity: Dataset::popularity(),
            seed,
        };
        let mut random = Random::new(u64::from(seed));
        let all = match self {
            Self::FindMix => {
                return maker.finds(random, Popularity::Zipf(maker.popularity.clone()));
            }
            Self::FindPopular => {
                let popular = Popularity::Even {
                    from: 0,
                    ranks: 100,
                };
                return maker.finds(random, popular);
            }
            Self::FindTail => {
                let half = Dataset::DIGESTS / 2;
                let tail = Popularity::Even {
                    from: half,
                    ranks: half,
                };
                return maker.finds(random, tail);
            }
            Self::FindBatch => maker.batches(&mut random),
            Self::Keepalive => (0..POOL)
                .map(|_| calls::keepalive(random.below(dataset.nodes), None))
                .collect(),
            Self::AdvertisePresent => maker.present(&mut random),
            Self::AdvertiseNew => {
                return Requests::New {
                    nodes: maker.part(Part::AdvertiseNew, POOL),
                    next: 0,
                    number: maker.unheard(0),
                };
            }
            Self::SyncSame => maker.same(),
            Self::SyncChanged => maker.changed(),
        };
        Requests::Pool { all, next: 0 }
    }
}

struct Maker<'a> {
    dataset: &'a Dataset,
    popularity: Zipf,
    seed: u32,
}

impl Maker<'_> {
    fn finds(&self, random: Random, popularity: Popularity) -> Requests {
        Requests::Finds {
            dataset: self.dataset.clone(),
            random,
            popularity,
        }
    }

    fn batches(&self, random: &mut Random) -> Vec<Vec<u8>> {
        let (keys, count) = BATCH;
        let find = |_| {
            let draw = |_| self.popularity.draw(random).into();
            let keys: Vec<_> = (0..keys).map(draw).collect();
            calls::find_many(&keys, count, random.below(self.dataset.nodes))
        };
        (0..POOL).map(find).collect()
    }

    /// Ten neighbouring keys of a node's set, ten times for each node.
    fn present(&self, random: &mut Random) -> Vec<Vec<u8>> {
        let nodes = self.part(Part::AdvertisePresent, SYNCING);
        let sets: Vec<_> = nodes.iter().map(|node| (*node, self.set(*node))).collect();
        let mut all = Vec::new();
        for _ in 0..10 {
            for (node, set) in &sets {
                let from = random.below(self.dataset.keys.saturating_sub(ADVERTISED));
                let keys = set
                    .iter()
                    .skip(index(from))
                    .take(index(ADVERTISED))
                    .copied();
                all.push(calls::advertise(*node, &keys.collect::<Vec<_>>(), None));
            }
        }
        all
    }

    fn same(&self) -> Vec<Vec<u8>> {
        let nodes = self.part(Part::SyncSame, SYNCING);
        nodes
            .into_iter()
            .map(|node| calls::sync(node, &self.set(node), None))
            .collect()
    }

    /// Each node in turns with one set and with another, so that each sync finds a tenth changed.
    fn changed(&self) -> Vec<Vec<u8>> {
        let nodes = self.part(Part::SyncChanged, CHANGING);
        let turn = |turn: u64| {
            nodes.iter().map(move |node| {
                let mut set = self.set(*node);
                set.truncate(set.len().saturating_sub(CHANGED));
                let first = self.unheard((u64::from(*node) * 2 + turn) * wide(CHANGED));
                set.extend((first..).take(CHANGED));
                calls::sync(*node, &set, None)
            })
        };
        turn(0).chain(turn(1)).collect()
    }

    /// A number of no digest that anybody has, other ones with each seed.
    fn unheard(&self, number: u64) -> u64 {
        ((u64::from(self.seed) + 1) << 32) + number
    }

    fn set(&self, node: u32) -> Vec<u64> {
        let keys = self.dataset.keys_of(&self.popularity, node);
        keys.into_iter().map(Into::into).collect()
    }

    fn part(&self, part: Part, most: u32) -> Vec<u32> {
        let first = match part {
            Part::SyncSame => 0,
            Part::SyncChanged => 1,
            Part::AdvertiseNew => 2,
            Part::AdvertisePresent => 3,
        };
        (first..self.dataset.nodes)
            .step_by(4)
            .take(index(most))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(workload: Workload) -> Vec<String> {
        match workload.requests(
            &Dataset {
                nodes: 40,
                keys: 400,
            },
            7,
        ) {
            Requests::Pool { all, .. } => all
                .into_iter()
                .map(|request| String::from_utf8(request).expect("text"))
                .collect(),
            Requests::New { .. } | Requests::Finds { .. } => Vec::new(),
        }
    }

    fn keys(request: &str) -> Vec<String> {
        let (_, body) = request.split_once("\r\n\r\n").expect("a head");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        serde_json::from_value(body["keys"].clone()).expect("keys")
    }

    #[test]
    fn a_sync_of_what_is_there_and_one_of_another_tenth() {
        let same = pool(Workload::SyncSame);
        let set: Vec<_> = Dataset {
            nodes: 40,
            keys: 400,
        }
        .keys_of(&Dataset::popularity(), 0)
        .into_iter()
        .map(|key| Dataset::key(key.into()))
        .collect();
        assert_eq!(keys(&same[0]), set);
        let changed = pool(Workload::SyncChanged);
        let (one, other) = (keys(&changed[0]), keys(&changed[changed.len() / 2]));
        let common = one.iter().filter(|key| other.contains(key)).count();
        assert_eq!((one.len(), other.len(), common), (400, 400, 360));
    }

    #[test]
    fn advertised_news_are_never_the_same() {
        let mut requests = Workload::AdvertiseNew.requests(
            &Dataset {
                nodes: 40,
                keys: 400,
            },
            7,
        );
        let mut next = || {
            let mut out = Vec::new();
            requests.write(&mut out);
            keys(&String::from_utf8(out).expect("text"))
        };
        let (one, other) = (next(), next());
        assert_eq!((one.len(), other.len()), (10, 10));
        assert!(one.iter().all(|key| !other.contains(key)));
    }

    #[test]
    fn the_tail_is_asked_for_by_nodes_of_the_cluster() {
        let dataset = Dataset {
            nodes: 40,
            keys: 400,
        };
        let mut requests = Workload::FindTail.requests(&dataset, 7);
        let mut find = || {
            let mut out = Vec::new();
            requests.write(&mut out);
            String::from_utf8(out).expect("text")
        };
        let finds: Vec<_> = (0..100).map(|_| find()).collect();
        let popular = hex::encode(Dataset::digest(0));
        assert!(finds.iter().all(|find| !find.contains(&popular)));
        assert!(
            finds
                .iter()
                .all(|find| find.contains("&request_host=10.0.0."))
        );
    }
}
