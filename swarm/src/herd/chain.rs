//! The nodes of one rack that take one behind the other.
//!
//! A rack has one chain; where it has more nodes than a chain may have, it has several, and those
//! behind the first take from chains of the same rack.

use super::chain_id::ChainId;
use super::member::{MemberId, Ms, ms};
use super::{Herd, State};
use crate::{NodePlace, Rack, Rules, Zone};

/// A chain's place in the order of the herd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number {
    pub(super) epoch: u32,
    pub(super) rack: u32,
}

/// A chain from which one more gateway may take: the nearest to the root first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Opening {
    pub(super) zone: Zone,
    pub(super) level: u16,
    pub(super) number: Number,
    pub(super) chain: ChainId,
}

#[derive(Debug)]
pub(super) struct Chain {
    pub(super) rack: Rack,
    pub(super) zone: Zone,
    /// It has one since its gateway first got a source.
    pub(super) number: Option<Number>,
    /// Chains between it and the root.
    pub(super) level: u16,
    /// In the order of their places.
    pub(super) members: Vec<MemberId>,
    next_place: u32,
    /// The node that fetches from other racks for all.
    pub(super) gateway: Option<MemberId>,
    /// The chain that the gateway takes from.
    pub(super) parent: Option<ChainId>,
    /// Since when it has been seen with a parent and without a gateway.
    vacant: Option<Ms>,
    /// The gateway's sources beside its first.
    pub(super) stripes: [Option<MemberId>; Rules::MOST_STRIPES - 1],
    /// How many gateways take from it.
    pub(super) kids: usize,
    pub(super) opening: Option<Opening>,
}

impl Chain {
    pub(super) fn new(place: NodePlace) -> Self {
        Self {
            rack: place.rack,
            zone: place.zone,
            number: None,
            level: 0,
            members: Vec::new(),
            next_place: 0,
            gateway: None,
            parent: None,
            vacant: None,
            stripes: [None; Rules::MOST_STRIPES - 1],
            kids: 0,
            opening: None,
        }
    }

    pub(super) fn take_place(&mut self) -> u32 {
        let place = self.next_place;
        self.next_place = self.next_place.saturating_add(1);
        place
    }

    /// Places up to that one are taken.
    pub(super) fn reserve(&mut self, place: u32) {
        self.next_place = self.next_place.max(place.saturating_add(1));
    }

    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.members.capacity() * size_of::<MemberId>()
    }
}

impl Herd {
    /// The chain that a new node of the rack joins.
    pub(super) fn chain_for(&mut self, place: NodePlace, rules: &Rules) -> ChainId {
        let last = self.racks.get(&place.rack).and_then(|chains| chains.last());
        if let Some(&last) = last
            && self[last].members.len() < rules.chain
        {
            return last;
        }
        self.new_chain(place)
    }

    pub(super) fn new_chain(&mut self, place: NodePlace) -> ChainId {
        let id = ChainId::new(self.chains.len());
        self.chains.push(Chain::new(place));
        self.racks.entry(place.rack).or_default().push(id);
        if !self.zones.contains(&place.zone) && self.zones.len() < Self::MAX_ZONES {
            self.zones.push(place.zone);
        }
        id
    }

    /// Most zones that are distinguished in the search for a parent.
    const MAX_ZONES: usize = 64;

    /// The chain whose gateway fetches from other racks, for all chains of its rack.
    pub(super) fn head(&self, chain: ChainId) -> ChainId {
        let chains = self
            .racks
            .get(&self[chain].rack)
            .map_or(&[][..], Vec::as_slice);
        if chains.len() < 2 {
            return chain;
        }
        let feeding = chains.iter().copied().filter(|&chain| self.can_feed(chain));
        let head = feeding.min_by_key(|&chain| {
            let number = self[chain].number;
            (!self.is_tied(chain), number.is_none(), number, chain)
        });
        let head = head.unwrap_or(chain);
        // The order forbids that source, so it continues by itself.
        if self.is_before(chain, head) {
            chain
        } else {
            head
        }
    }

    /// Moves the chain behind the one that fetches from other racks meanwhile, as a rack has one
    /// gateway. It stands before that one if all its nodes were out or another instance ranked it. A
    /// chain that feeds a gateway keeps its place: the two could wait for each other.
    pub(super) fn fall_in(&mut self, chain: ChainId) {
        let chains = self.racks.get(&self[chain].rack);
        let Some(number) = self[chain].number else {
            return;
        };
        let has_none = !self.can_feed(chain);
        let is_behind = |&other: &ChainId| {
            let is_head = self.can_feed(other) && (self.is_tied(other) || has_none);
            is_head && self.is_before(chain, other)
        };
        if !chains.is_some_and(|chains| chains.iter().any(is_behind)) || self.feeds_others(chain) {
            return;
        }
        let kids: Vec<_> = self.ranked.values().copied().collect();
        for kid in kids {
            if self[kid].parent == Some(chain) {
                self.drop_parent(kid);
            }
        }
        self.drop_parent(chain);
        self.ranked.remove(&number);
        self[chain].number = None;
        self.reopen(chain);
    }

    fn is_before(&self, chain: ChainId, other: ChainId) -> bool {
        self[chain].number.is_some() && self[chain].number < self[other].number
    }

    /// Whether the chain's gateway takes from another rack, or asks the registry.
    fn is_tied(&self, chain: ChainId) -> bool {
        let gateway = self[chain].gateway;
        gateway.is_some_and(|gateway| self[gateway].permit) || self.is_outside(chain)
    }

    /// Whether the chain's parent is in another rack.
    fn is_outside(&self, chain: ChainId) -> bool {
        let Chain { rack, parent, .. } = self[chain];
        parent.is_some_and(|parent| self[parent].rack != rack)
    }

    /// Whether a member of another chain takes from one of this chain.
    fn feeds_others(&self, chain: ChainId) -> bool {
        let members = self[chain].members.iter();
        let mut kids = members.flat_map(|&id| self[id].kids).flatten();
        kids.any(|kid| self[kid].chain != chain)
    }

    /// Whether the chain has a node that others may fetch from.
    fn can_feed(&self, chain: ChainId) -> bool {
        let mut members = self[chain].members.iter();
        members.any(|&id| self[id].is_usable())
    }

    /// Whether another chain of the rack has the key, or its gateway takes it from another rack or
    /// from the registry.
    pub(super) fn has_head(&self, chain: ChainId) -> bool {
        let chains = self.racks.get(&self[chain].rack);
        let is_head = |&other: &ChainId| {
            let mut members = self[other].members.iter();
            let has_it = |&id: &MemberId| self[id].state == State::Done && self[id].is_usable();
            other != chain && (self.is_tied(other) || members.any(has_it))
        };
        chains.is_some_and(|chains| chains.iter().any(is_head))
    }

    /// The chain's gateway fetches from another rack now. Former gateways of the rack are placed behind
    /// it at their next join; their current transfers continue.
    pub(super) fn make_way(&mut self, chain: ChainId) {
        if !self.is_outside(chain) {
            return;
        }
        let chains = self.racks.get(&self[chain].rack);
        for other in chains.cloned().unwrap_or_default() {
            if other == chain || !self.is_outside(other) {
                continue;
            }
            if let Some(gateway) = self[other].gateway.filter(|&id| !self[id].permit) {
                self.unlink(gateway);
            }
            self.drop_parent(other);
        }
    }

    /// Whether the chain has a live node.
    pub(super) fn is_alive(&self, chain: ChainId) -> bool {
        let members = self[chain].members.iter();
        members.into_iter().any(|&id| self[id].state != State::Out)
    }

    /// Gives the chain its place in the order, behind all that have one, if it has none.
    pub(super) fn give_rank(&mut self, chain: ChainId, level: u16) {
        if self[chain].number.is_some() {
            return;
        }
        let number = Number {
            epoch: self.epoch,
            rack: self.next,
        };
        self.next = self.next.saturating_add(1);
        self.set_rank(chain, number, level);
    }

    pub(super) fn set_rank(&mut self, chain: ChainId, number: Number, level: u16) {
        self[chain].number = Some(number);
        self[chain].level = level;
        self.ranked.insert(number, chain);
        self.reopen(chain);
    }

    /// Keeps the index of chains with room right for this chain.
    pub(super) fn reopen(&mut self, chain: ChainId) {
        if let Some(opening) = self[chain].opening.take() {
            self.open.remove(&opening);
        }
        let Chain {
            zone,
            level,
            number,
            kids,
            ..
        } = self[chain];
        let Some(number) = number.filter(|_| kids < self.fan) else {
            return;
        };
        let opening = Opening {
            zone,
            level,
            number,
            chain,
        };
        self.open.insert(opening);
        self[chain].opening = Some(opening);
    }

    /// Frees the unused places at other racks that were reserved for the next gateway.
    pub(super) fn free_places(&mut self, now: Ms, rules: &Rules) {
        for chain in (0..self.chains.len()).map(ChainId::new) {
            let Chain {
                parent,
                gateway,
                vacant,
                ..
            } = self[chain];
            let vacant = match (parent, gateway) {
                (Some(_), None) => Some(vacant.unwrap_or(now)),
                _ => None,
            };
            self[chain].vacant = vacant;
            if vacant.is_some_and(|since| now.saturating_sub(since) >= ms(rules.offer)) {
                self.drop_parent(chain);
            }
        }
    }

    /// The gateway takes from that chain no more.
    pub(super) fn drop_parent(&mut self, chain: ChainId) {
        if let Some(parent) = self[chain].parent.take() {
            self[parent].kids = self[parent].kids.saturating_sub(1);
            self.reopen(parent);
        }
    }

    /// Moves a member without children in its chain behind all others of the chain.
    pub(super) fn move_to_end(&mut self, id: MemberId) {
        let chain = self[id].chain;
        let place = self[chain].take_place();
        self[id].place = place;
        let members = &mut self[chain].members;
        members.retain(|&member| member != id);
        members.push(id);
    }
}
