//! The tree of racks: the sources of a chain's gateway.

use super::chain::{Number, Opening};
use super::chain_id::ChainId;
use super::member::{MemberId, Ms, Slot, State, ms};
use super::{Context, Herd};
use crate::Zone;

/// Chains that are looked at in one search.
const MAX_EXAMINED: usize = 64;

impl Herd {
    /// Ties the gateway to up to `want` nodes of one other chain; returns whether there was any.
    pub(super) fn seek(
        &mut self,
        id: MemberId,
        want: usize,
        tried: &[MemberId],
        context: &Context,
    ) -> bool {
        let chain = self[id].chain;
        if let Some(parent) = self[chain].parent {
            let is_allowed = self[parent].rack == self[chain].rack || self.head(chain) == chain;
            if is_allowed && self.tie(id, parent, want, tried, context) {
                self.make_way(chain);
                return true;
            }
            self.drop_parent(chain);
        }
        let late = context.now.saturating_sub(self[id].since) >= ms(context.rules.offer);
        for parent in self.parents(chain, late) {
            if self.tie(id, parent, want, tried, context) {
                self[chain].parent = Some(parent);
                self[parent].kids += 1;
                self.reopen(parent);
                let level = self[parent].level.saturating_add(1);
                self.give_rank(chain, level);
                self.make_way(chain);
                return true;
            }
        }
        false
    }

    /// More sources of the same chain for a gateway that has some.
    pub(super) fn seek_more(
        &mut self,
        id: MemberId,
        want: usize,
        tried: &[MemberId],
        context: &Context,
    ) {
        let has = self.sources(id).count();
        if has < want
            && let Some(parent) = self[self[id].chain].parent
        {
            self.tie(id, parent, want - has, tried, context);
        }
    }

    /// Chains that the gateway of that chain may take from, the best first. It looks in other racks also
    /// where it comes behind another chain of its own, if that finds nobody and it is late.
    fn parents(&self, chain: ChainId, late: bool) -> Vec<ChainId> {
        let mut found = Vec::new();
        if self.head(chain) != chain {
            found = self.parents_in_rack(chain);
            if !late || self.has_head(chain) {
                return found;
            }
        }
        found.extend(self.parents_elsewhere(chain));
        found.retain(|&parent| parent != chain);
        found
    }

    fn parents_elsewhere(&self, chain: ChainId) -> impl Iterator<Item = ChainId> {
        let own = self[chain].zone;
        let mut found: Vec<_> = self.openings(own, MAX_EXAMINED).collect();
        found.retain(|opening| self.may_follow(chain, opening.chain));
        // A zone is entered once more where none of its nodes may be a source.
        if found.is_empty() {
            let each = MAX_EXAMINED / self.zones.len().max(1) + 1;
            let zones = self.zones.iter().copied().filter(|zone| *zone != own);
            let mut others: Vec<_> = zones.flat_map(|zone| self.openings(zone, each)).collect();
            others.sort_unstable_by_key(|opening| (opening.level, opening.number));
            found = others;
        }
        found.into_iter().map(|opening| opening.chain)
    }

    /// Whether the order allows the chain's gateway a source in the other chain.
    fn may_follow(&self, chain: ChainId, other: ChainId) -> bool {
        if chain == other {
            return false;
        }
        let own = self[chain].number;
        let is_earlier = own.is_none() || self[other].number < own;
        let mut members = self[other].members.iter();
        members.any(|&id| self[id].is_usable() && (is_earlier || self[id].state == State::Done))
    }

    fn openings(&self, zone: Zone, most: usize) -> impl Iterator<Item = Opening> {
        let first = Opening {
            zone,
            level: 0,
            number: Number { epoch: 0, rack: 0 },
            chain: ChainId::new(0),
        };
        let of_zone = move |opening: &&Opening| opening.zone == zone;
        self.open
            .range(first..)
            .take_while(of_zone)
            .take(most)
            .copied()
    }

    /// Chains of the same rack with room, the nearest to the root first.
    fn parents_in_rack(&self, chain: ChainId) -> Vec<ChainId> {
        let chains = self
            .racks
            .get(&self[chain].rack)
            .map_or(&[][..], Vec::as_slice);
        let mut found = chains.to_vec();
        found.retain(|&other| other != chain && self[other].opening.is_some());
        found.sort_unstable_by_key(|&other| (self[other].level, self[other].number));
        found.truncate(MAX_EXAMINED);
        found
    }

    /// Ties the gateway to up to `want` nodes of that chain that have bytes; returns whether there
    /// was any.
    fn tie(
        &mut self,
        id: MemberId,
        parent: ChainId,
        want: usize,
        tried: &[MemberId],
        context: &Context,
    ) -> bool {
        let (hop, horizon) = (ms(context.rules.hop), ms(context.rules.horizon));
        let mut tied = 0;
        for at in 0..self[parent].members.len() {
            let Some(&source) = self[parent].members.get(at) else {
                break;
            };
            if tied == want {
                break;
            }
            let candidate = &self[source];
            let fits = candidate.is_usable()
                && candidate.has_room(Slot::Second)
                && !tried.contains(&source)
                && self.may_take(id, source);
            if fits
                && self.fed_at(source, hop) <= context.now.saturating_add(horizon)
                && self.link(id, source, Slot::Second, context.now)
            {
                let chain = self[id].chain;
                self[chain].gateway = Some(id);
                tied += 1;
            }
        }
        tied > 0
    }

    /// Whether another member takes from elsewhere for the chain, or asks the registry. One that the
    /// others may not take from makes way.
    pub(super) fn has_other_gateway(&mut self, id: MemberId) -> bool {
        let chain = self[id].chain;
        let Some(gateway) = self[chain].gateway.filter(|&gateway| gateway != id) else {
            return false;
        };
        if self[gateway].is_usable() {
            return true;
        }
        if self[gateway].permit {
            self[chain].gateway = None;
        } else {
            self.unlink(gateway);
        }
        self.move_to_end(gateway);
        false
    }

    /// How long a waiting node waits before it asks again: with this pace all waiting nodes
    /// together ask some 20,000 times a second.
    pub(super) fn pace(&self) -> Ms {
        let waiting = self.chains.len().saturating_sub(self.ranked.len());
        let waiting = Ms::try_from(waiting).unwrap_or(Ms::MAX);
        (waiting / 20).clamp(20, 500)
    }
}
