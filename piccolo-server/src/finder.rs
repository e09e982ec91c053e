//! The holders of a key, best first for one requester.

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
    database::Database,
    holders::{HolderSet, KeyQuery, Lookup},
    key_hash::KeyHash,
    packed::{Family, Packed, Stretch},
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

/// The requester, and how many holders it wants.
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

/// A key's holders of one address family.
#[derive(Debug)]
struct KeyHolders {
    space: SpaceId,
    around: Packed,
    stretches: Vec<Stretch>,
    holders: Holders,
}

#[derive(Debug)]
enum Holders {
    All(Arc<HolderSet>),
    Some(Vec<Packed>),
}

impl Holders {
    fn len(&self) -> usize {
        match self {
            Self::All(set) => set.len(),
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

    /// The best holders of `key` for the asker, best first; empty if there are none.
    pub(crate) async fn find(
        &self,
        database: &Database,
        spaces: ByFamily,
        key: &str,
        asker: Asker,
    ) -> Result<Found, StoreError> {
        let ranked = self.judged(database, spaces, key, asker, |chosen, query, topology| {
            self.best(chosen, query, topology)
        });
        let (candidates, topology) = ranked.await?;
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
        database: &Database,
        spaces: ByFamily,
        key: &str,
        asker: Asker,
    ) -> Result<Explained, StoreError> {
        let scored = self.judged(database, spaces, key, asker, |chosen, query, topology| {
            topology::explain(
                &chosen.candidates,
                query,
                topology,
                &self.bandwidth.estimates(),
            )
        });
        let (candidates, topology) = scored.await?;
        Ok(Explained {
            candidates,
            topology,
        })
    }

    /// Like [`explain`](Self::explain), for addresses that need not be holders.
    pub(crate) fn explain_addresses(&self, key: &str, asker: Asker, to: &[IpAddr]) -> Explained {
        let topology = self.current.get();
        let candidates: Vec<_> = to
            .iter()
            .map(|ip| Candidate::new((*ip, AGENT_PORT).into(), 0))
            .collect();
        let hash = KeyHash::of(key);
        let query = self.query(&hash, asker);
        let candidates =
            topology::explain(&candidates, &query, &topology, &self.bandwidth.estimates());
        Explained {
            candidates,
            topology,
        }
    }

    /// The result of `judge` over the candidates of a key, and the topology that was used.
    async fn judged<T>(
        &self,
        database: &Database,
        spaces: ByFamily,
        key: &str,
        asker: Asker,
        judge: impl FnOnce(Chosen<'_>, &Query<'_>, &Topology) -> T + Send,
    ) -> Result<(T, Arc<Topology>), StoreError> {
        let hash = KeyHash::of(key);
        let topology = self.current.get();
        let sources = self
            .sources(database, spaces, hash, asker, &topology)
            .await?;
        let now = self.clock.now_ms();
        let view = database.nodes().view(now);
        let mut chosen = Chosen::new(&view, now, asker.ip);
        gather(&mut chosen, &sources, asker);
        let judged = judge(chosen, &self.query(&hash, asker), &topology);
        drop(view);
        Ok((judged, topology))
    }

    /// The best of the candidates, best first, each counted as handed out.
    fn best(&self, chosen: Chosen<'_>, query: &Query<'_>, topology: &Topology) -> Vec<Candidate> {
        let Chosen {
            now,
            mut candidates,
            nodes,
            ..
        } = chosen;
        let best = topology::rank(
            &mut candidates,
            query,
            topology,
            &self.bandwidth.estimates(),
        );
        candidates.truncate(best);
        for (candidate, part) in candidates.iter().zip(HANDED_OUT) {
            let index = usize::try_from(candidate.index).unwrap_or(usize::MAX);
            if let Some(node) = nodes.get(index) {
                node.handed_out().add(now, part);
            }
        }
        candidates
    }

    async fn sources(
        &self,
        database: &Database,
        spaces: ByFamily,
        key: KeyHash,
        asker: Asker,
        topology: &Topology,
    ) -> Result<Vec<KeyHolders>, StoreError> {
        let own = Family::of(asker.ip);
        let mut sources: Vec<KeyHolders> = Vec::with_capacity(2);
        for family in [own, own.other()] {
            let Some(space) = spaces.of(family) else {
                continue;
            };
            // Only a requester whose own family has too few holders needs those of the other.
            if self.is_enough(database, &sources, asker) {
                break;
            }
            let source = self
                .source(database, (space, family), key, asker, topology)
                .await?;
            sources.push(source);
        }
        Ok(sources)
    }

    /// Whether there are as many candidates as the asker wants: neither the dead nor the asker
    /// itself is one.
    fn is_enough(&self, database: &Database, sources: &[KeyHolders], asker: Asker) -> bool {
        let wanted = limit(asker.count);
        if sources.iter().all(|source| source.holders.len() < wanted) {
            return false;
        }
        let now = self.clock.now_ms();
        let view = database.nodes().view(now);
        let mut chosen = Chosen::new(&view, now, asker.ip);
        gather(&mut chosen, sources, asker);
        chosen.candidates.len() >= wanted
    }

    async fn source(
        &self,
        database: &Database,
        (space, family): (SpaceId, Family),
        key: KeyHash,
        asker: Asker,
        topology: &Topology,
    ) -> Result<KeyHolders, StoreError> {
        let around = place(asker.ip, family);
        // More than half of the wanted number on either side, so that the ranking has a choice.
        let neighbours = asker.count.saturating_mul(5) / 8 + 8;
        let query = KeyQuery {
            space,
            family,
            key,
            around,
            neighbours,
        };
        let known = database.holders(query).await?;
        let stretches = match &known {
            // All of them are candidates anyway.
            Lookup::Complete(set) if set.len() <= wanted(asker) => Vec::new(),
            _ => self.stretches(asker, family, topology),
        };
        let holders = match known {
            Lookup::Complete(set) => Holders::All(set),
            Lookup::Neighbours(nearest) => {
                let wanted = Wanted {
                    space,
                    key,
                    around,
                    asker,
                    now: self.clock.now_ms(),
                };
                Holders::Some(rows::rows(database, wanted, nearest, &stretches).await?)
            }
        };
        Ok(KeyHolders {
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
}

/// The default peer port of agents.
const AGENT_PORT: u16 = 7787;

fn gather(chosen: &mut Chosen<'_>, sources: &[KeyHolders], asker: Asker) {
    for source in sources {
        match &source.holders {
            Holders::All(set) => chosen.add_from(
                source.space,
                set,
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

/// Number of neighbours that become candidates: somewhat more than the answer has, for the ranking
/// to choose from.
fn wanted(asker: Asker) -> usize {
    limit(asker.count).saturating_mul(5) / 4 + 16
}

fn limit(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The asker's position in a family's address order. All addresses of the other family are equally
/// far, so the position is a hash of the asker, which spreads the askers over them.
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
