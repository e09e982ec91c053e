//! Who has a key, best first for one requester.

mod attraction;
mod choose;
mod count;
mod rows;

use std::{net::IpAddr, sync::Arc};

use daemon::{clock::Clock, metric::Metric};
use topology::{Candidate, Explanation, Query, Topology};

use self::{
    attraction::Attraction,
    choose::{Chosen, stretches},
    count::Counts,
    rows::Wanted,
};
use crate::{
    bandwidth::Bandwidth,
    holders::{Held, List},
    key_hash::KeyHash,
    packed::{Family, Packed, Stretch},
    realm::Realm,
    spaces::ByFamily,
    store::{SpaceId, StoreError},
    topology_file::Current,
};

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[count::FIRST, count::PEERS, count::HOLDERS, count::PROBES];

/// Answers finds.
#[derive(Debug)]
pub(crate) struct Finder {
    clock: Clock,
    current: Arc<Current>,
    bandwidth: Arc<Bandwidth>,
    attraction: Attraction,
    counts: Counts,
}

/// Who asks for how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) ip: IpAddr,
    pub(crate) count: u32,
}

/// Holders, best first, and the topology that they were ranked by.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) topology: Arc<Topology>,
}

/// All candidates of a find with the reasons for their places.
#[derive(Debug)]
pub(crate) struct Explained {
    pub(crate) candidates: Vec<Explanation>,
    pub(crate) topology: Arc<Topology>,
}

/// What one family has of a key.
#[derive(Debug)]
struct Source {
    space: SpaceId,
    around: Packed,
    stretches: Vec<Stretch>,
    holders: Holders,
}

#[derive(Debug)]
enum Holders {
    All(Arc<List>),
    Some(Vec<Packed>),
}

impl Holders {
    fn len(&self) -> usize {
        match self {
            Self::All(list) => list.len(),
            Self::Some(rows) => rows.len(),
        }
    }
}

/// The first places of an answer, by how likely its holders are asked.
const HANDED_OUT: [f32; 3] = [1.0, 0.5, 0.25];

impl Finder {
    pub(crate) fn new(clock: Clock, current: Arc<Current>, bandwidth: Arc<Bandwidth>) -> Self {
        Self {
            clock,
            current,
            bandwidth,
            attraction: Attraction::default(),
            counts: Counts::new(),
        }
    }

    /// The best holders of `key` for the asker, best first; none when nobody has it.
    pub(crate) async fn find(
        &self,
        realm: &Realm,
        spaces: ByFamily,
        key: &str,
        asker: Asker,
    ) -> Result<Found, StoreError> {
        let hash = KeyHash::of(key);
        let topology = self.current.get();
        let sources = self.sources(realm, spaces, hash, asker, &topology).await?;
        let now = self.millis();
        let view = realm.nodes.view(now);
        let mut chosen = Chosen::new(&view, now, asker.ip);
        gather(&mut chosen, &sources, asker);
        let query = self.query(&hash, asker);
        let best = topology::rank(
            &mut chosen.candidates,
            &query,
            &topology,
            &self.bandwidth.estimates(),
        );
        let Chosen {
            mut candidates,
            nodes,
            ..
        } = chosen;
        candidates.truncate(best);
        for (candidate, part) in candidates.iter().zip(HANDED_OUT) {
            let index = usize::try_from(candidate.index).unwrap_or(usize::MAX);
            if let Some(node) = nodes.get(index) {
                node.handed_out().add(now, part);
            }
        }
        drop(view);
        self.counts
            .count(&topology, topology.locate(asker.ip), &candidates);
        Ok(Found {
            candidates,
            topology,
        })
    }

    /// Each candidate of a find with every term of its score. Counts as no find.
    pub(crate) async fn explain(
        &self,
        realm: &Realm,
        spaces: ByFamily,
        key: &str,
        asker: Asker,
    ) -> Result<Explained, StoreError> {
        let hash = KeyHash::of(key);
        let topology = self.current.get();
        let sources = self.sources(realm, spaces, hash, asker, &topology).await?;
        let now = self.millis();
        let view = realm.nodes.view(now);
        let mut chosen = Chosen::new(&view, now, asker.ip);
        gather(&mut chosen, &sources, asker);
        let candidates = self.explained(&chosen.candidates, &hash, asker, &topology);
        Ok(Explained {
            candidates,
            topology,
        })
    }

    /// The same for holders that need not exist.
    pub(crate) fn explain_addresses(&self, key: &str, asker: Asker, to: &[IpAddr]) -> Explained {
        let topology = self.current.get();
        let candidates: Vec<_> = to
            .iter()
            .map(|ip| Candidate::new((*ip, AGENT_PORT).into(), 0))
            .collect();
        let hash = KeyHash::of(key);
        let candidates = self.explained(&candidates, &hash, asker, &topology);
        Explained {
            candidates,
            topology,
        }
    }

    fn explained(
        &self,
        candidates: &[Candidate],
        hash: &KeyHash,
        asker: Asker,
        topology: &Topology,
    ) -> Vec<Explanation> {
        let query = self.query(hash, asker);
        topology::explain(candidates, &query, topology, &self.bandwidth.estimates())
    }

    async fn sources(
        &self,
        realm: &Realm,
        spaces: ByFamily,
        key: KeyHash,
        asker: Asker,
        topology: &Topology,
    ) -> Result<Vec<Source>, StoreError> {
        let own = Family::of(asker.ip);
        let mut sources: Vec<Source> = Vec::with_capacity(2);
        for family in [own, own.other()] {
            let Some(space) = spaces.of(family) else {
                continue;
            };
            // Only a requester whose own family has too few holders needs those of the other.
            if self.is_enough(realm, &sources, asker) {
                break;
            }
            let source = self
                .source(realm, (space, family), key, asker, topology)
                .await?;
            sources.push(source);
        }
        Ok(sources)
    }

    /// Whether there are as many candidates as the asker wants: neither the dead nor the asker
    /// itself is one.
    fn is_enough(&self, realm: &Realm, sources: &[Source], asker: Asker) -> bool {
        let wanted = limit(asker.count);
        if sources.iter().all(|source| source.holders.len() < wanted) {
            return false;
        }
        let now = self.millis();
        let view = realm.nodes.view(now);
        let mut chosen = Chosen::new(&view, now, asker.ip);
        gather(&mut chosen, sources, asker);
        chosen.candidates.len() >= wanted
    }

    async fn source(
        &self,
        realm: &Realm,
        (space, family): (SpaceId, Family),
        key: KeyHash,
        asker: Asker,
        topology: &Topology,
    ) -> Result<Source, StoreError> {
        let around = place(asker.ip, family);
        // More than half of what is wanted on either side, so that there is a choice.
        let k = asker.count.saturating_mul(5) / 8 + 8;
        let held = realm.lists.holders((space, family), key, around, k).await?;
        let stretches = match &held {
            // All of them are candidates anyway.
            Held::All(list) if list.len() <= wanted(asker) => Vec::new(),
            _ => self.stretches(asker, family, topology),
        };
        let holders = match held {
            Held::All(list) => Holders::All(list),
            Held::Near(nearest) => {
                let wanted = Wanted {
                    space,
                    key,
                    around,
                    asker,
                    now: self.millis(),
                };
                Holders::Some(rows::rows(realm, wanted, nearest, &stretches).await?)
            }
        };
        Ok(Source {
            space,
            around,
            stretches,
            holders,
        })
    }

    fn stretches(&self, asker: Asker, family: Family, topology: &Topology) -> Vec<Stretch> {
        let prefixes = self.attraction.prefixes(
            topology.locate(asker.ip),
            topology,
            self.current.generation(),
            &self.bandwidth,
            self.clock.now(),
        );
        stretches(&prefixes, family, asker.ip)
    }

    fn query<'a>(&self, hash: &'a KeyHash, asker: Asker) -> Query<'a> {
        Query {
            requester: asker.ip,
            key: &hash.0,
            seed: 0,
            now: self.clock.now(),
            limit: limit(asker.count),
        }
    }

    fn millis(&self) -> i64 {
        i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Where agents serve peers when they are told nothing else.
const AGENT_PORT: u16 = 7787;

fn gather(chosen: &mut Chosen<'_>, sources: &[Source], asker: Asker) {
    for source in sources {
        match &source.holders {
            Holders::All(list) => chosen.add_from(
                source.space,
                list,
                source.around,
                wanted(asker),
                &source.stretches,
            ),
            Holders::Some(rows) => rows.iter().for_each(|holder| {
                chosen.add(source.space, *holder);
            }),
        }
    }
}

/// Neighbours that are candidates: somewhat more than the answer has, for the ranking to choose
/// from.
fn wanted(asker: Asker) -> usize {
    limit(asker.count).saturating_mul(5) / 4 + 16
}

fn limit(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Where the asker stands in the order of a family's addresses. To the other family all are
/// equally far, and a place that is the asker's own spreads the askers over them.
fn place(ip: IpAddr, family: Family) -> Packed {
    if Family::of(ip) == family {
        return Packed::new(ip, 0);
    }
    let scattered = KeyHash::of(&ip.to_string());
    let ip = match family {
        Family::V4 => {
            let [a, b, c, d, ..] = scattered.0;
            IpAddr::from([a, b, c, d])
        }
        Family::V6 => IpAddr::from(scattered.0),
    };
    Packed::new(ip, 0)
}
