//! Which of a key's living holders are candidates for one requester: its neighbours in address
//! order, and some of each rack that is attractive.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::IpAddr,
};

use ipnetwork::IpNetwork;
use topology::{Candidate, Load};

use crate::{
    holders::{HolderSet, Visited},
    nodes::{Node, View},
    packed::{Family, Packed, Stretch},
    store::{NodeKey, SpaceId},
};

/// Living holders of each attractive prefix.
const EACH: usize = 8;
/// Holders examined for each one wanted, since some are dead.
const PATIENCE: usize = 32;

/// The candidates found so far, and their nodes.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    view: &'a View<'a>,
    pub(super) now: i64,
    requester: IpAddr,
    pub(super) candidates: Vec<Candidate>,
    pub(super) nodes: Vec<&'a Node>,
}

impl<'a> Chosen<'a> {
    pub(super) fn new(view: &'a View<'a>, now: i64, requester: IpAddr) -> Self {
        Self {
            view,
            now,
            requester,
            candidates: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Adds a holder if it is alive and not the requester; gives whether it was added.
    pub(super) fn add(&mut self, space: SpaceId, holder: Packed) -> bool {
        let node = self.view.alive(NodeKey { space, holder });
        let (Some(node), Some(holder)) = (node, holder.holder()) else {
            return false;
        };
        if holder.ip() == self.requester {
            return false;
        }
        let index = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let mut candidate = Candidate::new(holder.addr(), index);
        candidate.load = Load {
            reported: node.load(),
            handed_out: node.handed_out().count(self.now),
        };
        self.candidates.push(candidate);
        self.nodes.push(node);
        true
    }

    /// Adds what a complete set has for the requester.
    pub(super) fn add_from(
        &mut self,
        space: SpaceId,
        set: &HolderSet,
        around: Packed,
        wanted: usize,
        stretches: &[Stretch],
    ) {
        let most = set.len().min(wanted + EACH * stretches.len());
        self.candidates.reserve(most);
        self.nodes.reserve(most);
        let mut nearest = set.nearest(around);
        let mut missing = wanted;
        for holder in nearest.by_ref().take(wanted.saturating_mul(PATIENCE)) {
            missing -= usize::from(self.add(space, holder));
            if missing == 0 {
                break;
            }
        }
        let visited = nearest.visited();
        for stretch in stretches {
            self.add_stretch(space, set, *stretch, visited);
        }
    }

    fn add_stretch(&mut self, space: SpaceId, set: &HolderSet, stretch: Stretch, visited: Visited) {
        let Stretch { first, begin, last } = stretch;
        if visited.covers(first, last) {
            return;
        }
        let mut missing = EACH;
        let behind = set.from(begin).take_while(|holder| *holder <= last);
        let before = set.from(first).take_while(|holder| *holder < begin);
        for holder in behind.chain(before).take(EACH * PATIENCE) {
            if visited.contains(holder) {
                continue;
            }
            missing -= usize::from(self.add(space, holder));
            if missing == 0 {
                break;
            }
        }
    }
}

/// The address ranges of these prefixes in a family, each with a start that is pseudo-random per
/// requester.
pub(super) fn stretches(prefixes: &[IpNetwork], family: Family, requester: IpAddr) -> Vec<Stretch> {
    let prefixes = prefixes
        .iter()
        .filter(|prefix| Family::of(prefix.ip()) == family);
    prefixes
        .map(|prefix| {
            let (first, last) = (prefix.network(), prefix.broadcast());
            Stretch {
                first: Packed::new(first, 0),
                begin: Packed::new(within(first, last, requester), 0),
                last: Packed::new(last, u16::MAX),
            }
        })
        .collect()
}

/// Some address between the two.
fn within(first: IpAddr, last: IpAddr, requester: IpAddr) -> IpAddr {
    let mut hasher = DefaultHasher::new();
    (requester, first).hash(&mut hasher);
    let chance = hasher.finish();
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let more = last.to_bits() - first.to_bits();
            let step = u64::from(more).checked_add(1).map_or(0, |all| chance % all);
            let step = u32::try_from(step).unwrap_or(0);
            IpAddr::V4((first.to_bits() + step).into())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let more = last.to_bits() - first.to_bits();
            let chance = u128::from(chance) << 64 | u128::from(chance.rotate_left(32));
            let step = more.checked_add(1).map_or(chance, |all| chance % all);
            IpAddr::V6((first.to_bits() + step).into())
        }
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requesters_begin_at_different_places_within_a_prefix() {
        let prefixes: Vec<IpNetwork> = ["10.0.1.0/24", "2001:db8::/64", "10.9.0.0/16"]
            .map(|prefix| prefix.parse().expect("a prefix"))
            .into();
        let mut begins = std::collections::BTreeSet::new();
        for host in 0..32 {
            let requester = IpAddr::from([192, 168, 0, host]);
            let stretches = stretches(&prefixes, Family::V4, requester);
            assert_eq!(stretches.len(), 2);
            for stretch in stretches {
                assert!(stretch.first <= stretch.begin && stretch.begin <= stretch.last);
                begins.insert(stretch.begin);
            }
        }
        assert!(begins.len() > 32, "{}", begins.len());
    }
}
