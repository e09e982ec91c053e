//! Failures: sources that were given up, and nodes that leave, are slow or lie.

use super::member::{MemberId, Ms, Slot, State, ms};
use super::{Ask, Context, Found, Herd};
use crate::identity::Node;
use crate::{Event, Fault};

/// Reports of one member that are believed within the window: a node that cannot reach anyone is
/// itself at fault.
const MAX_BELIEVED: u8 = 3;
const WINDOW: Ms = 5_000;

/// Who asked a node before it had its first bytes may give it up so long after it got them.
const LATE: Ms = 500;

/// How often a key is cut while it is wanted: a member could have the others begin again.
const MAX_CUTS: u8 = 3;

/// State of a herd after a cut.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Before {
    epoch: u32,
    cuts: u8,
}

impl Herd {
    /// A member gave up a source. Only members that were sent to a node may report it.
    pub(super) fn report(
        &mut self,
        id: MemberId,
        source: MemberId,
        fault: Fault,
        context: &Context,
    ) {
        if !self.takes_from(id, source) {
            return;
        }
        let now = context.now;
        let is_early = fault == Fault::Empty && self.is_unfed(source, context);
        self.unlink_from(id, source);
        let counts = matches!(fault, Fault::Silent | Fault::Empty | Fault::Wrong);
        if !counts || is_early || !self.is_believed(id, now) {
            return;
        }
        if fault == Fault::Wrong {
            self.bar(source, now);
        } else {
            self.take_out_for(source, fault, now);
        }
    }

    /// Whether a node had nothing to give through no fault of its own: the registry has yet to send the
    /// first byte to the node at the head of its path, or that one waits for a source, or the first
    /// bytes may have come too late for who asked.
    fn is_unfed(&mut self, id: MemberId, context: &Context) -> bool {
        let Context { now, rules, .. } = *context;
        if self[id].state == State::Done {
            return false;
        }
        let fed = self.fed_at(id, ms(rules.hop));
        if fed < Ms::MAX {
            return now < fed.saturating_add(LATE);
        }
        let mut head = id;
        for _ in 0..self.members.len() {
            match self[head].source {
                Some(source) => head = source,
                None => break,
            }
        }
        if self.awaits_first_byte(head) {
            return true;
        }
        let member = &mut self[head];
        // One that waits asks again and again, and not for ever.
        member.excused = member.excused.min(now);
        member.state == State::Waiting
            && !member.is_stuck()
            && now.saturating_sub(member.heard) < ms(rules.lease)
            && now.saturating_sub(member.excused) < ms(rules.lease)
    }

    /// A report outside of a join.
    pub(crate) fn reported(&mut self, by: Node, source: Node, fault: Fault, context: &Context) {
        let ids = (self.index.get(&by), self.index.get(&source));
        if let (Some(&by), Some(&source)) = ids {
            self.touched = context.now;
            self.report(by, source, fault, context);
        }
    }

    fn is_believed(&mut self, id: MemberId, now: Ms) -> bool {
        let member = &mut self[id];
        if now.saturating_sub(member.reported) >= WINDOW {
            (member.reported, member.reports) = (now, 0);
        }
        member.reports = member.reports.saturating_add(1);
        member.reports <= MAX_BELIEVED
    }

    /// The node leaves, or gave up the key.
    pub(crate) fn leave(&mut self, node: Node, now: Ms) {
        if let Some(&id) = self.index.get(&node) {
            self.touched = now;
            self.return_permit(id);
            self.take_out(id, now);
            self.drop_kids(id);
            let member = &mut self[id];
            member.has_nothing();
            // It gave the permit back.
            member.stalled = false;
        }
    }

    /// Whether it may be that the node made a false list of what `by` got, and the key is to be cut:
    /// both take part, and it is not known already.
    pub(crate) fn may_be_false(&self, by: Node, maker: Node) -> bool {
        let is_new = |id: &MemberId| !self[*id].barred;
        by != maker
            && self.cuts < MAX_CUTS
            && self.index.contains_key(&by)
            && self.index.get(&maker).is_some_and(is_new)
    }

    /// The herd of a key that was cut, after `before` and at `latest`.
    pub(crate) fn begin_anew(&mut self, before: Before, latest: u32) {
        let Before { epoch, cuts } = before;
        self.epoch = epoch.max(latest).saturating_add(1);
        self.anew = self.epoch;
        self.cuts = cuts.saturating_add(1);
    }

    /// The state to keep after a cut.
    pub(crate) fn before(&self) -> Before {
        Before {
            epoch: self.epoch,
            cuts: self.cuts,
        }
    }

    /// Bars the node: it is no source for this key any more.
    pub(crate) fn bar_node(&mut self, node: Node, now: Ms) {
        if let Some(&id) = self.index.get(&node) {
            self.bar(id, now);
        }
    }

    fn bar(&mut self, id: MemberId, now: Ms) {
        if !self[id].barred {
            self[id].barred = true;
            self.say(id, Event::Barred);
            self.make_leaf(id, now);
        }
    }

    /// The node drains slowly: it becomes a leaf at the end of its chain, and the next of the chain
    /// is given what it took from. It has ended what others take from it.
    pub(crate) fn slow(&mut self, node: Node, ask: &Ask, context: &mut Context) -> Option<Found> {
        let id = *self.index.get(&node)?;
        self.touched = context.now;
        self.wants_again(id);
        if !self[id].slow {
            self[id].slow = true;
            self.say(id, Event::Slow);
            self.make_leaf(id, context.now);
        }
        Some(self.ask(id, ask, context))
    }

    /// The node says that it drains slowly, and goes on with what it takes: it becomes a leaf at the end of
    /// its chain. Who holds a permit cannot tell how fast the registry would be for others.
    pub(crate) fn slows(&mut self, node: Node, now: Ms) {
        let Some(&id) = self.index.get(&node) else {
            return;
        };
        let member = &self[id];
        if member.slow || member.permit || member.state != State::Fetching {
            return;
        }
        let source = member.source;
        self.touched = now;
        self.becomes_slow(id, now);
        // From another rack it takes on by itself, as the next of its chain may be the gateway now.
        if let Some(source) = source
            && self[source].chain == self[id].chain
            && self[source].is_usable()
            && self.may_take(id, source)
        {
            self.link(id, source, Slot::Slow, now);
        }
    }

    pub(super) fn becomes_slow(&mut self, id: MemberId, now: Ms) {
        self[id].slow = true;
        self.counts.slow += 1;
        self.say(id, Event::Slow);
        self.make_leaf(id, now);
    }

    fn make_leaf(&mut self, id: MemberId, now: Ms) {
        let heir = self[id].kids.into_iter().flatten().find(|&kid| {
            let same_chain = self[kid].chain == self[id].chain;
            same_chain && self[kid].is_usable()
        });
        self.drop_kids(id);
        if self[id].permit {
            // Its transfer from the registry continues, and no node waits for it.
            self.lose(id, now);
        }
        if let Some(heir) = heir {
            self.inherit(id, heir, now);
        } else {
            self.unlink(id);
        }
        self.move_to_end(id);
    }

    /// Gives one member what another takes from.
    fn inherit(&mut self, from: MemberId, heir: MemberId, now: Ms) {
        let chain = self[from].chain;
        let was_gateway = self[chain].gateway == Some(from);
        let sources: Vec<_> = self.sources(from).collect();
        let parent = self[chain].parent;
        self.unlink(from);
        let slot = if was_gateway {
            Slot::Second
        } else {
            Slot::Chain
        };
        if was_gateway && !sources.is_empty() {
            self[chain].gateway = Some(heir);
        }
        let mut tied = false;
        for source in sources {
            tied |= self[source].state != State::Out
                && self.may_take(heir, source)
                && self.link(heir, source, slot, now);
        }
        if tied {
            debug_assert_eq!(self[chain].parent, parent, "the chain's parent stays");
            self.counts.moves += 1;
            self.say(heir, Event::Moved);
        } else if self[chain].gateway == Some(heir) {
            self[chain].gateway = None;
        }
    }
}
