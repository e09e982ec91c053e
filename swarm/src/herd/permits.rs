//! Permits: which nodes may fetch from the registry.

use std::time::Duration;

use super::chain_id::ChainId;
use super::member::{MemberId, Ms, State, ms};
use super::{Context, Herd};
use crate::pace::per_second;
use crate::{Event, Fault, Reason, Registry, Rules, Zone};

/// A permit that is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) member: MemberId,
    pub(super) reason: Reason,
    pub(super) until: Ms,
    /// Bytes that its holder had, and since when it has had no more.
    bytes: u64,
    moved: Ms,
    /// Whether it has had a byte by this permit.
    pub(super) begun: bool,
    /// Since when it has received no new byte of this key, whatever it received of others.
    since: Ms,
    /// When its pace was last looked at, and the bytes that it had then.
    looked: (Ms, u64),
    /// How many looks in a row have found it slow.
    slow: u8,
}

/// Between two looks at the pace of who has a permit.
const LOOK: Ms = 2_000;
/// So many in a row have to find it slow.
const LOOKS: u8 = 2;

impl Herd {
    pub(super) fn lease(&self, id: MemberId) -> Option<Lease> {
        self.leases.iter().find(|lease| lease.member == id).copied()
    }

    /// Whether it holds a permit that has not brought it a byte yet.
    pub(super) fn awaits_first_byte(&self, id: MemberId) -> bool {
        self.lease(id).is_some_and(|lease| !lease.begun)
    }

    /// Gives the member a permit if it is its turn.
    pub(super) fn take_turn(&mut self, id: MemberId, context: &Context) -> Option<Lease> {
        let Context { now, rules, .. } = *context;
        let member = &self[id];
        // A complete copy exists: the nodes wait for room, not for a permit.
        if member.has_stalled() || !member.is_trusted() || self.done > 0 && self.has_usable_holder()
        {
            return None;
        }
        let chain = member.chain;
        let zone = self[chain].zone;
        let asked = self.turns(zone, rules);
        if asked >= rules.permits {
            return None;
        }
        let offered = now.saturating_sub(self.permit_free_since) >= ms(rules.offer);
        if asked == 0 && !offered && !self.is_first(chain, zone, rules) {
            return None;
        }
        self.counts.turns += 1;
        Some(self.grant(id, Reason::Turn, context))
    }

    /// Gives the member a permit because it waited too long, if the budget has room.
    pub(super) fn take_patience(&mut self, id: MemberId, context: &mut Context) -> Option<Lease> {
        if !context.bucket.take(context.clock) {
            return None;
        }
        self.counts.patience += 1;
        Some(self.grant(id, Reason::Patience, context))
    }

    fn grant(&mut self, id: MemberId, reason: Reason, context: &Context) -> Lease {
        self.unlink(id);
        let chain = self[id].chain;
        if !self.has_other_gateway(id) {
            self.drop_parent(chain);
            self[chain].gateway = Some(id);
        }
        self.give_rank(chain, 0);
        let lease = self.hold(id, reason, context.now, context.rules);
        self.say(id, Event::Permitted(reason));
        lease
    }

    /// Notes that the member holds a permit.
    pub(super) fn hold(&mut self, id: MemberId, reason: Reason, now: Ms, rules: &Rules) -> Lease {
        self.set_state(id, State::Fetching);
        let member = &mut self[id];
        member.permit = true;
        member.leaf = false;
        member.depth = 0;
        member.linked = now;
        let lease = Lease {
            member: id,
            reason,
            until: now.saturating_add(ms(rules.lease)),
            bytes: member.bytes,
            moved: now,
            begun: false,
            since: now,
            looked: (now, member.bytes),
            slow: 0,
        };
        self.leases.push(lease);
        lease
    }

    /// The holder reports its progress. Where the registry sends it another key, this one has its turn
    /// soon: the two share a link, and no other node would be served sooner over the registry's.
    pub(super) fn renew(
        &mut self,
        id: MemberId,
        is_fed: bool,
        now: Ms,
        rules: &Rules,
    ) -> Option<Lease> {
        let bytes = self[id].bytes;
        let lease = self.leases.iter_mut().find(|lease| lease.member == id)?;
        lease.until = now.saturating_add(ms(rules.lease));
        if bytes > lease.bytes {
            if !lease.begun {
                lease.looked = (now, bytes);
            }
            (lease.bytes, lease.moved, lease.begun) = (bytes, now, true);
            lease.since = now;
        } else if is_fed && now.saturating_sub(lease.since) < ms(rules.patience) {
            lease.moved = now;
        }
        Some(*lease)
    }

    /// Whether the registry sends the holder of a permit much less than it sent others of late, and there is
    /// another node that could ask it.
    pub(super) fn is_outpaced(
        &mut self,
        id: MemberId,
        registry: Registry,
        context: &mut Context,
    ) -> bool {
        let Context { now, clock, .. } = *context;
        let (node, bytes) = (self[id].node, self[id].bytes);
        let Some(lease) = self.leases.iter_mut().find(|lease| lease.member == id) else {
            return false;
        };
        let (at, had) = lease.looked;
        let time = now.saturating_sub(at);
        if time < LOOK {
            return false;
        }
        lease.looked = (now, bytes);
        let time = Duration::from_millis(time.into());
        let rate = per_second(bytes.saturating_sub(had), time);
        let is_slow = context.paces.is_slow(registry, node, rate, clock);
        lease.slow = if is_slow { lease.slow + 1 } else { 0 };
        let is_slow = lease.slow >= LOOKS && lease.reason == Reason::Turn;
        let could_ask = |kid: MemberId| self[kid].is_usable() && !self[kid].has_stalled();
        is_slow && !self.has_given_way && self[id].kids.into_iter().flatten().any(could_ask)
    }

    /// The permit of who is slow is free for those who waited behind it. It goes on by itself.
    pub(super) fn gives_way(&mut self, id: MemberId, now: Ms) {
        self.has_given_way = true;
        self.becomes_slow(id, now);
    }

    /// Ends the leases of silent and of stalled nodes.
    pub(crate) fn expire(&mut self, now: Ms, rules: &Rules) {
        // A registry that sends a node two layers may be late with the first byte of one.
        let (first, stall) = (ms(rules.lease + rules.stall), ms(rules.stall));
        while let Some(lease) = self.leases.iter().find(|lease| {
            let patience = if lease.begun { stall } else { first };
            now >= lease.until || now.saturating_sub(lease.moved) >= patience
        }) {
            let id = lease.member;
            self.lose(id, now);
            self.take_out(id, now);
        }
    }

    /// The member's permit is free for the next, and it gets none any more for this key.
    pub(super) fn lose(&mut self, id: MemberId, now: Ms) {
        if self.end_lease(id) {
            self[id].stalled = true;
            self.counts.lost += 1;
            self.permit_free_since = now;
            self.say(id, Event::Lost);
        }
    }

    /// The member has it all and needs the permit no more.
    pub(super) fn return_permit(&mut self, id: MemberId) {
        if self.end_lease(id) {
            self.say(id, Event::Returned);
        }
    }

    fn end_lease(&mut self, id: MemberId) -> bool {
        self.leases.retain(|lease| lease.member != id);
        std::mem::take(&mut self[id].permit)
    }

    /// How many ask the registry in their turn, of those that count for the zone.
    pub(super) fn turns(&self, zone: Zone, rules: &Rules) -> usize {
        let of_zone = |lease: &&Lease| {
            let chain = self[lease.member].chain;
            lease.reason == Reason::Turn && (!rules.permits_by_zone || self[chain].zone == zone)
        };
        self.leases.iter().filter(of_zone).count()
    }

    /// Whether no chain before this one has a node that could fetch for all.
    fn is_first(&self, chain: ChainId, zone: Zone, rules: &Rules) -> bool {
        let counts = |other: ChainId| {
            let of_zone = !rules.permits_by_zone || self[other].zone == zone;
            of_zone && self[other].members.iter().any(|&id| self[id].is_usable())
        };
        let first = self.ranked.values().copied().find(|&other| counts(other));
        first.is_none_or(|first| first == chain)
    }

    fn has_usable_holder(&self) -> bool {
        let done = |id: &MemberId| self[*id].state == State::Done && self[*id].is_usable();
        self.chains
            .iter()
            .any(|chain| chain.members.iter().any(done))
    }

    /// The member is not handed out before its next call. Its current transfers continue.
    pub(super) fn take_out(&mut self, id: MemberId, now: Ms) {
        if self[id].state == State::Out {
            return;
        }
        if self[id].state == State::Done {
            // They may be before it in the order, which is for those who have it all only.
            self.drop_kids(id);
        }
        self.lose(id, now);
        self.unlink(id);
        self.set_state(id, State::Out);
        let chain = self[id].chain;
        if !self.is_alive(chain) {
            self.drop_parent(chain);
        }
    }

    pub(super) fn take_out_for(&mut self, id: MemberId, fault: Fault, now: Ms) {
        if self[id].state != State::Out {
            self.take_out(id, now);
            self.say(id, Event::Out(fault));
        }
    }
}
