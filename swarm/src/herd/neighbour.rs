//! The edges: finds a source in a node's own chain, ties and cuts edges.

use super::Herd;
use super::member::{MemberId, Ms, Slot, State};

/// What there is in a member's own chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// A node with a free place.
    Free(MemberId, Slot),
    /// There are nodes before it, but they have no room, or have failed it.
    Busy,
    /// There is no node before it: it is the gateway.
    Nobody,
}

impl Herd {
    /// The nearest before it with room for the next of the chain; else one with any room; else one
    /// that has it all, wherever it stands.
    pub(super) fn neighbour(&self, id: MemberId, tried: &[MemberId]) -> Neighbour {
        let member = &self[id];
        let chain = &self[member.chain];
        let mut found = Neighbour::Nobody;
        let wanted: &[Slot] = if member.slow || !member.is_trusted() {
            &[Slot::Slow, Slot::Chain, Slot::Second]
        } else {
            &[Slot::Chain, Slot::Second]
        };
        for &slot in wanted {
            for &other in chain.members.iter().rev() {
                let candidate = &self[other];
                let before = candidate.place < member.place || candidate.state == State::Done;
                if other == id || !before || !candidate.is_usable() || candidate.is_stuck() {
                    continue;
                }
                if candidate.has_room(slot) && !tried.contains(&other) {
                    return Neighbour::Free(other, slot);
                }
                found = Neighbour::Busy;
            }
        }
        found
    }

    /// Drops the sources that the member would not be given again.
    pub(super) fn drop_unsound(&mut self, id: MemberId) {
        let is_sound = |source: MemberId| self[source].is_usable() && self.may_take(id, source);
        let unsound: Vec<_> = self
            .sources(id)
            .filter(|source| !is_sound(*source))
            .collect();
        for source in unsound {
            self.unlink_from(id, source);
        }
    }

    /// Whether the order lets the member take from the other.
    pub(super) fn may_take(&self, id: MemberId, source: MemberId) -> bool {
        let (member, other) = (&self[id], &self[source]);
        if other.state == State::Done {
            return true;
        }
        if member.chain == other.chain {
            return other.place < member.place;
        }
        match (self[other.chain].number, self[member.chain].number) {
            (Some(earlier), Some(own)) => earlier < own,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Ties a member to a source of its own chain, or a gateway to a further source.
    pub(super) fn link(&mut self, id: MemberId, source: MemberId, slot: Slot, now: Ms) -> bool {
        if !self[source].take_in(id, slot) {
            return false;
        }
        let depth = self[source].depth.saturating_add(1);
        self.counts.deepest = self.counts.deepest.max(depth);
        self.set_state(id, State::Fetching);
        let member = &mut self[id];
        if member.source.is_none() {
            member.source = Some(source);
            member.leaf = false;
            member.linked = now;
            member.depth = depth;
        } else {
            member.depth = member.depth.max(depth);
            let chain = member.chain;
            let place = self[chain].stripes.iter_mut().find(|at| at.is_none());
            if let Some(place) = place {
                *place = Some(source);
            }
        }
        true
    }

    /// Cuts the member from its source; if it was its chain's gateway, it no longer is.
    pub(super) fn unlink(&mut self, id: MemberId) {
        if let Some(source) = self[id].source.take() {
            self[source].let_go(id);
        }
        let chain = self[id].chain;
        if self[chain].gateway == Some(id) {
            self[chain].gateway = None;
            let stripes = std::mem::take(&mut self[chain].stripes);
            for source in stripes.into_iter().flatten() {
                self[source].let_go(id);
            }
            if self[id].state == State::Done || !self.is_alive(chain) {
                self.drop_parent(chain);
            }
        }
        if self[id].state == State::Fetching {
            self.set_state(id, State::Waiting);
        }
    }

    /// The member takes from that one no more, but from its other sources.
    pub(super) fn unlink_from(&mut self, id: MemberId, source: MemberId) {
        let chain = self[id].chain;
        let is_gateway = self[chain].gateway == Some(id);
        if self[id].source == Some(source) {
            let next = if is_gateway {
                self[chain].stripes.iter_mut().find_map(Option::take)
            } else {
                None
            };
            self[source].let_go(id);
            self[id].source = next;
            if next.is_none() {
                self.unlink(id);
            }
        } else if is_gateway && self[chain].stripes.contains(&Some(source)) {
            self[source].let_go(id);
            for at in &mut self[chain].stripes {
                if *at == Some(source) {
                    *at = None;
                }
            }
        }
    }

    /// Whether the member takes from that one.
    pub(super) fn takes_from(&self, id: MemberId, source: MemberId) -> bool {
        self.sources(id).any(|at| at == source)
    }

    /// The member's source.
    pub(super) fn sources(&self, id: MemberId) -> impl Iterator<Item = MemberId> {
        let chain = &self[self[id].chain];
        let stripes = if chain.gateway == Some(id) {
            &chain.stripes[..]
        } else {
            &[]
        };
        self[id]
            .source
            .into_iter()
            .chain(stripes.iter().copied().flatten())
    }

    /// Cuts the member's children, which will join again.
    pub(super) fn drop_kids(&mut self, id: MemberId) {
        for kid in self[id].kids.into_iter().flatten() {
            self.unlink_from(kid, id);
        }
    }

    /// When the member has its first bytes, as far as is known: what its sources have reaches it a
    /// hop later.
    pub(super) fn fed_at(&mut self, id: MemberId, hop: Ms) -> Ms {
        let mut path = std::mem::take(&mut self.scratch);
        path.clear();
        let mut at = id;
        while self[at].fed_at == Ms::MAX
            && let Some(source) = self[at].source
            && path.len() < self.members.len()
        {
            path.push(at);
            at = source;
        }
        let mut fed = self[at].fed_at;
        if fed < Ms::MAX {
            for &id in path.iter().rev() {
                let member = &mut self[id];
                fed = fed.max(member.linked).saturating_add(hop);
                member.fed_at = fed;
            }
        }
        self.scratch = path;
        fed
    }
}
