//! Who has a key, best first for one requester.

use std::{net::IpAddr, sync::Arc, time::Duration};

use daemon::clock::Clock;
use topology::{Candidate, Estimates, Load, Query, Topology};

use crate::{
    key_hash::KeyHash,
    packed::{Family, Packed},
    realm::Realm,
    spaces::ByFamily,
    store::{NodeKey, SpaceId, StoreError},
};

/// Answers finds.
#[derive(Debug)]
pub(crate) struct Finder {
    pub(crate) clock: Clock,
    pub(crate) topology: Arc<Topology>,
    pub(crate) estimates: Arc<Estimates>,
}

/// Who asks for how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) ip: IpAddr,
    pub(crate) count: u32,
}

/// Where many holders are dead, the search widens this often, each time to four times as many.
const WIDENINGS: u32 = 3;

impl Finder {
    /// The best holders of `key` for the asker, best first; none when nobody has it.
    pub(crate) async fn find(
        &self,
        realm: &Realm,
        spaces: ByFamily,
        key: &str,
        asker: Asker,
    ) -> Result<Vec<Candidate>, StoreError> {
        let hash = KeyHash::of(key);
        let family = Family::of(asker.ip);
        let mut candidates = Vec::new();
        for family in [family, family.other()] {
            if let Some(space) = spaces.of(family)
                && candidates.len() < limit(asker.count)
            {
                let around = place(asker.ip, family);
                self.gather(realm, space, hash, around, asker, &mut candidates)
                    .await?;
            }
        }
        let query = Query {
            requester: asker.ip,
            key: &hash.0,
            seed: 0,
            now: Duration::ZERO,
            limit: limit(asker.count),
        };
        let best = topology::rank(&mut candidates, &query, &self.topology, &self.estimates);
        candidates.truncate(best);
        Ok(candidates)
    }

    async fn gather(
        &self,
        realm: &Realm,
        space: SpaceId,
        key: KeyHash,
        around: Packed,
        asker: Asker,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), StoreError> {
        let before = candidates.len();
        let mut k = asker.count.saturating_add(1);
        for _ in 0..=WIDENINGS {
            let nearest = realm.store.nearest(space, key, around, k).await?;
            candidates.truncate(before);
            let now = i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX);
            let view = realm.nodes.view(now);
            for holder in nearest.below.iter().chain(&nearest.above) {
                let node = view.alive(NodeKey {
                    space,
                    holder: *holder,
                });
                if let (Some(node), Some(holder)) = (node, holder.holder())
                    && holder.ip() != asker.ip
                {
                    let mut candidate = Candidate::new(holder.addr(), 0);
                    candidate.load = Load {
                        reported: node.load(),
                        handed_out: 0.0,
                    };
                    candidates.push(candidate);
                }
            }
            drop(view);
            if nearest.is_all(k) || candidates.len() - before >= limit(asker.count) {
                break;
            }
            k = k.saturating_mul(4);
        }
        Ok(())
    }
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
