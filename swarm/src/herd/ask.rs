//! A member asks what to do.

use super::member::{MemberId, Ms, State, ms};
use super::neighbour::Neighbour;
use super::permits::Lease;
use super::{Context, Herd};
use crate::identity::Node;
use crate::{Fault, NodePlace, Rack, Rank, Reason, Why};

/// [`crate::Join`] in the herd's own numbers.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) node: Node,
    pub(crate) place: NodePlace,
    pub(crate) offset: u64,
    pub(crate) tried: Vec<(Node, Fault)>,
    pub(crate) want: usize,
    pub(crate) waited: Ms,
    pub(crate) stalled: bool,
    pub(crate) rank: Option<Rank>,
}

/// [`crate::Answer`] in the herd's own numbers.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) rank: Option<Rank>,
    pub(crate) verdict: Verdict,
}

#[derive(Debug)]
pub(crate) enum Verdict {
    Take {
        sources: Vec<Source>,
        again: Option<Ms>,
    },
    Permit {
        until: Ms,
        reason: Reason,
    },
    Wait {
        until: Ms,
        why: Why,
    },
}

#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) node: Node,
    pub(crate) rack: Rack,
    pub(crate) rank: Option<Rank>,
    pub(crate) bytes: u64,
    pub(crate) complete: bool,
}

impl Herd {
    /// A node wants the key, or something else than it has.
    pub(crate) fn join(&mut self, ask: &Ask, context: &mut Context) -> Found {
        self.expire(context.now, context.rules);
        self.touched = context.now;
        let id = match self.index.get(&ask.node) {
            Some(&id) => id,
            None => self.admit_as(ask.node, ask.place, ask.rank, context),
        };
        let is_whole = ask.rank.is_none() && ask.offset == 0;
        if is_whole {
            // It has none of the bytes from before any more.
            self[id].tainted = false;
        }
        self.begins_anew(id, is_whole, context);
        self[id].shunned = ask.stalled;
        self.wants_again(id);
        self.ask(id, ask, context)
    }

    /// Restarts the waiting time of a node that had the whole object, or that was silent for longer than
    /// a waiting node is: its last byte was of an earlier fetch, or it was at a source, and then its
    /// request tells how long it waited there.
    fn begins_anew(&mut self, id: MemberId, is_whole: bool, context: &Context) {
        let Context { now, rules, .. } = *context;
        let member = &mut self[id];
        let was_silent = now.saturating_sub(member.heard) >= ms(rules.lease);
        if member.state == State::Done || was_silent {
            member.since = now;
        }
        if was_silent && is_whole {
            // The outcome of its last fetch means nothing for this one.
            member.stalled = false;
        }
    }

    /// A complete node that asks has lost the object; a node that was out is back.
    pub(super) fn wants_again(&mut self, id: MemberId) {
        match self[id].state {
            State::Done => {
                self.drop_kids(id);
                self[id].has_nothing();
            }
            State::Out => {}
            State::Waiting | State::Fetching => return,
        }
        self.set_state(id, State::Waiting);
        // Its place may have been reassigned.
        if !self.feeds_its_chain(id) {
            self.move_to_end(id);
        }
    }

    pub(super) fn ask(&mut self, id: MemberId, ask: &Ask, context: &mut Context) -> Found {
        let now = context.now;
        self[id].note(ask.offset, now);
        let known = |herd: &Self, (node, fault): (Node, Fault)| {
            herd.index.get(&node).map(|&source| (source, fault))
        };
        let tried = ask.tried.iter().copied();
        let tried: Vec<_> = tried.filter_map(|tried| known(self, tried)).collect();
        for &(source, fault) in &tried {
            self.report(id, source, fault, context);
        }
        let tried: Vec<_> = tried.into_iter().map(|(source, _)| source).collect();
        let verdict = self.decide(id, ask, &tried, context);
        Found {
            rank: self.rank(id),
            verdict,
        }
    }

    fn decide(
        &mut self,
        id: MemberId,
        ask: &Ask,
        tried: &[MemberId],
        context: &mut Context,
    ) -> Verdict {
        let Context { now, rules, .. } = *context;
        if let Some(lease) = self.lease(id) {
            return lease.into();
        }
        self.drop_unsound(id);
        if self[id].source.is_some() {
            return self.go_on(id, ask.want, tried, context);
        }
        let waited = now.saturating_sub(self[id].since).max(ask.waited);
        let is_hushed = now < context.hush;
        if waited >= ms(rules.patience)
            && !is_hushed
            && let Some(lease) = self.take_patience(id, context)
        {
            return lease.into();
        }
        match self.neighbour(id, tried) {
            Neighbour::Free(source, slot) => {
                self.link(id, source, slot, now);
                return self.take(id, None);
            }
            Neighbour::Busy => return self.wait(id, Why::Busy, context),
            Neighbour::Nobody if self.has_other_gateway(id) => {
                return self.behind(id, tried, context);
            }
            Neighbour::Nobody => self.fall_in(self[id].chain),
        }
        let want = ask.want.clamp(1, rules.stripes);
        if self.seek(id, want, tried, context) {
            return self.go_on(id, want, tried, context);
        }
        if !is_hushed && let Some(lease) = self.take_turn(id, context) {
            return lease.into();
        }
        let why = if is_hushed { Why::Hush } else { Why::Permit };
        self.wait(id, why, context)
    }

    /// Its place was reassigned while it was out: it moves to the end of its chain, unless it has a
    /// child there.
    fn behind(&mut self, id: MemberId, tried: &[MemberId], context: &Context) -> Verdict {
        if !self.feeds_its_chain(id) {
            self.move_to_end(id);
            if let Neighbour::Free(source, slot) = self.neighbour(id, tried) {
                self.link(id, source, slot, context.now);
                return self.take(id, None);
            }
        }
        self.wait(id, Why::Busy, context)
    }

    fn feeds_its_chain(&self, id: MemberId) -> bool {
        let member = &self[id];
        let mut kids = member.kids.into_iter().flatten();
        kids.any(|kid| self[kid].chain == member.chain)
    }

    /// Names the sources that the member has, and finds more for a gateway that can use them.
    fn go_on(
        &mut self,
        id: MemberId,
        want: usize,
        tried: &[MemberId],
        context: &Context,
    ) -> Verdict {
        let is_gateway = self[self[id].chain].gateway == Some(id);
        if !is_gateway {
            return self.take(id, None);
        }
        let want = want.clamp(1, context.rules.stripes);
        self.seek_more(id, want, tried, context);
        let lacks = self.sources(id).count() < want;
        let since = context.now.saturating_sub(self[id].linked);
        let next = (since / 4).clamp(self.pace(), 2_000);
        self.take(id, lacks.then(|| context.now.saturating_add(next)))
    }

    fn take(&self, id: MemberId, again: Option<Ms>) -> Verdict {
        let source = |id: MemberId| {
            let member = &self[id];
            Source {
                node: member.node,
                rack: self[member.chain].rack,
                rank: self.rank(id),
                bytes: member.bytes,
                complete: member.state == State::Done,
            }
        };
        Verdict::Take {
            sources: self.sources(id).map(source).collect(),
            again,
        }
    }

    fn wait(&mut self, id: MemberId, why: Why, context: &Context) -> Verdict {
        self.set_state(id, State::Waiting);
        let until = match why {
            Why::Hush => context.hush,
            _ => context.now.saturating_add(self.pace()),
        };
        let is_busy = self.done > 0 || self.leases.is_empty();
        let why = match why {
            Why::Permit if is_busy => Why::Busy,
            why => why,
        };
        Verdict::Wait { until, why }
    }
}

impl From<Lease> for Verdict {
    fn from(lease: Lease) -> Self {
        Self::Permit {
            until: lease.until,
            reason: lease.reason,
        }
    }
}
