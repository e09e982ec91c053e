//! The ranking: the order of the holders of a key for one requester.
//!
//! Each candidate gets a score from its closeness, the bandwidth of the path from it, and its
//! load. Scores nearly as good as the best form a tier; within a tier a seeded hash of requester,
//! key and holder gives the order, so that no holder is everybody's first, and of each two the
//! less loaded goes first. A few places are reserved for other racks.

mod explain;
mod order;
mod score;
mod spread;

pub use explain::{BandwidthTerm, Explanation, LoadTerm, Placement, PrefixTerm, TreeTerm, explain};

use std::cmp::Ordering;
use std::net::IpAddr;
use std::time::Duration;

use crate::candidate::{Candidate, Group};
use crate::estimate::Estimates;
use crate::model::Topology;
use crate::numbers::within;
use crate::rank::score::Scorer;
use crate::{RackId, mix};

/// The requester, the key, and the number of holders wanted.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    pub requester: IpAddr,
    pub key: &'a [u8],
    /// Varies the order within tiers. With the same seed the order is the same.
    pub seed: u64,
    pub now: Duration,
    /// The most candidates to answer.
    pub limit: usize,
}

/// Brings the best candidates to the front, best first, and gives their number: at most the query's
/// limit. The order of the rest is unspecified.
///
/// The requester itself and holders behind forbidden paths are never among them.
pub fn rank(
    candidates: &mut [Candidate],
    query: &Query<'_>,
    topology: &Topology,
    estimates: &Estimates,
) -> usize {
    let mut scorer = Scorer::new(query, topology, estimates);
    let seed = mix::bytes(
        mix::address(query.seed, query.requester.to_canonical()),
        query.key,
    );
    score_all(candidates, &mut scorer, seed, topology.ranking().tier_width);
    let usable = candidates
        .iter()
        .filter(|candidate| candidate.is_usable())
        .count();
    let limit = query.limit.min(usable);
    order::best_first(candidates, limit);
    let moved = spread::keep_remote(candidates, limit, usable, topology.ranking().remote_share);
    let Some(answer) = candidates.get_mut(..limit) else {
        return 0;
    };
    if moved {
        answer.sort_unstable_by(Candidate::compare);
    }
    spread::best_of_two(answer);
    if spread::falls_within(mix::fold(seed, PROBE), topology.ranking().probe_share)
        && let Some(index) = probe(candidates, &mut scorer, topology.ranking().tier_width)
    {
        spread::to_front(candidates, limit, index);
    }
    limit
}

/// A hash constant that makes the choice of probing finds independent of the choice of holders.
const PROBE: u64 = 0x0070_726f_6265;

/// A candidate whose path would be among the best if it were as fast as declared, but was slower
/// when last measured. Without occasional probes, a link that was slow once would never be seen to
/// recover.
fn probe(candidates: &[Candidate], scorer: &mut Scorer<'_>, tier_width: f64) -> Option<usize> {
    let first = candidates.first()?;
    let (group, enough) = (first.place.group, first.score() - tier_width);
    let mut best: Option<(u64, usize)> = None;
    for (index, candidate) in candidates.iter().enumerate() {
        if candidate.place.group == group
            && scorer
                .hoped_for(candidate)
                .is_some_and(|score| score >= enough)
        {
            let found = (candidate.place.spread, index);
            best = Some(best.map_or(found, |best| best.min(found)));
        }
    }
    best.map(|(_, index)| index)
}

/// The racks with the most available bandwidth to the requester's: best first, at most `limit`, its
/// own included, none behind a forbidden path.
///
/// It visits every rack; cache the result.
pub fn attractive_racks(
    topology: &Topology,
    estimates: &Estimates,
    now: Duration,
    requester: RackId,
    limit: usize,
) -> Vec<RackId> {
    let racks = score::racks(topology, estimates, now, requester);
    racks
        .into_iter()
        .map(|(_, rack)| rack)
        .take(limit)
        .collect()
}

fn score_all(candidates: &mut [Candidate], scorer: &mut Scorer<'_>, seed: u64, tier_width: f64) {
    for candidate in &mut *candidates {
        candidate.place = scorer.standing(candidate);
        let holder = mix::address(seed, candidate.holder.ip());
        candidate.place.spread = mix::fold(holder, u64::from(candidate.holder.port()));
    }
    let width = within(tier_width, 1e-4, 1.0, 0.05);
    let mut best = [f64::NEG_INFINITY; 4];
    for candidate in &*candidates {
        if let Some(best) = best.get_mut(candidate.place.group.index()) {
            *best = best.max(candidate.place.score);
        }
    }
    for Candidate { place, .. } in candidates {
        let best = best
            .get(place.group.index())
            .copied()
            .unwrap_or(place.score);
        place.tier = spread::tier(best, place.score, width);
        place.order =
            u64::from(place.group.rank()) << 62 | u64::from(place.tier) << 48 | place.spread >> 16;
    }
}

impl Group {
    fn rank(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Fetching => 1,
            Self::Forbidden => 2,
            Self::Requester => 3,
        }
    }

    fn index(self) -> usize {
        usize::from(self.rank())
    }
}

impl Candidate {
    fn is_usable(&self) -> bool {
        self.place.group < Group::Forbidden
    }

    /// The order before load is considered. It is total: no two holders are equal.
    fn compare(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.place, &other.place);
        a.order
            .cmp(&b.order)
            .then_with(|| self.holder.cmp(&other.holder))
    }
}
