//! The tree of racks: from whom a chain's gateway takes.

use super::chain::{Number, Opening};
use super::chain_id::ChainId;
use super::member::{MemberId, Ms, Slot, State, ms};
use super::{Context, Herd};
use crate::Zone;

/// Chains that are looked at in one search.
const MOST_LOOKED_AT: usize = 64;

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
            if self.tie(id, parent, want, tried, context) {
                return true;
            }
            self.drop_parent(chain);
        }
        for parent in self.parents(chain) {
            if self.tie(id, parent, want, tried, context) {
                self[chain].parent = Some(parent);
                self[parent].kids += 1;
                self.reopen(parent);
                let level = self[parent].level.saturating_add(1);
                self.give_rank(chain, level);
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

    /// Chains that the gateway of that chain may take from, the best first.
    fn parents(&self, chain: ChainId) -> Vec<ChainId> {
        if self.head(chain) != chain {
            return self.parents_in_rack(chain);
        }
        let own = self[chain].zone;
        let mut found: Vec<_> = self.openings(own, MOST_LOOKED_AT).collect();
        if found.is_empty() {
            let each = MOST_LOOKED_AT / self.zones.len().max(1) + 1;
            let zones = self.zones.iter().copied().filter(|zone| *zone != own);
            let mut others: Vec<_> = zones.flat_map(|zone| self.openings(zone, each)).collect();
            others.sort_unstable_by_key(|opening| (opening.level, opening.number));
            found = others;
        }
        let other = found.into_iter().map(|opening| opening.chain);
        other.filter(|&parent| parent != chain).collect()
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
        found.truncate(MOST_LOOKED_AT);
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

    /// Whether another member takes from elsewhere for the chain, or asks the registry.
    pub(super) fn has_other_gateway(&self, id: MemberId) -> bool {
        let gateway = self[self[id].chain].gateway;
        gateway.is_some_and(|gateway| gateway != id && self[gateway].state != State::Out)
    }

    /// How long a waiting node waits before it asks again: with this pace all waiting nodes
    /// together ask some 20,000 times a second.
    pub(super) fn pace(&self) -> Ms {
        let waiting = self.chains.len().saturating_sub(self.ranked.len());
        let waiting = Ms::try_from(waiting).unwrap_or(Ms::MAX);
        (waiting / 20).clamp(20, 500)
    }
}
