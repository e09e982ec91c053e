//! Rebuilding a herd from the reports of nodes that got their ranks from another instance, or
//! before a restart.

use super::chain::Number;
use super::chain_id::ChainId;
use super::member::{Member, MemberId, Ms, State};
use super::permits::Lease;
use super::{Context, Herd};
use crate::identity::Node;
use crate::{NodePlace, Rank, Reason, Registry, Rules};

/// The largest rack number and place that a herd can have; larger ranks are invented.
const MAX_NUMBER: u32 = 1 << 24;
/// How far the clocks of instances may be apart, in seconds.
const SKEW: u32 = 300;

/// [`crate::Progress`] in the herd's own numbers.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) node: Node,
    pub(crate) place: NodePlace,
    pub(crate) bytes: u64,
    pub(crate) rank: Option<Rank>,
    pub(crate) permit: bool,
    pub(crate) registry: Option<Registry>,
    pub(crate) stalled: bool,
    /// Whether the registry sends it another key.
    pub(crate) is_fed: bool,
}

/// [`crate::Heard`] in the herd's own numbers.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) rank: Option<Rank>,
    /// Until when its permit is good.
    pub(crate) until: Option<Ms>,
    pub(crate) lost: bool,
    /// Whether its permit has brought it bytes.
    pub(crate) moved: bool,
}

impl Herd {
    /// A member reports its progress.
    pub(crate) fn progress(&mut self, said: &Said, context: &mut Context) -> Noted {
        let Said {
            node,
            place,
            bytes,
            rank,
            permit: says_permit,
            registry,
            stalled,
            is_fed,
        } = *said;
        let Context { now, rules, .. } = *context;
        self.expire(now, rules);
        self.touched = now;
        let id = match self.index.get(&node) {
            Some(&id) => id,
            None => self.adopt(node, place, rank, says_permit && !stalled, context),
        };
        self[id].shunned = stalled;
        let came = bytes.saturating_sub(self[id].bytes);
        let more = came > 0;
        self[id].note(bytes, now);
        if self[id].state == State::Out && more {
            self.set_state(id, State::Fetching);
        }
        let mut lease: Option<Lease> = self.renew(id, is_fed, now, rules);
        let moved = more && lease.is_some();
        if moved && let Some(registry) = registry {
            context.paces.add(registry, came, context.clock);
            if self.is_outpaced(id, registry, context) {
                context.paces.doubt(registry);
                self.gives_way(id, now);
                lease = None;
            }
        }
        if !says_permit && lease.is_some_and(|lease| lease.begun) {
            // It has all bytes, and has not committed them yet.
            self.return_permit(id);
            lease = None;
        }
        let chain = self[id].chain;
        let has_room = now < context.hush || self.turns(self[chain].zone, rules) < rules.permits;
        let is_new = says_permit && has_room && self[id].is_flying() && !self[id].has_stalled();
        if lease.is_none() && is_new {
            lease = Some(self.adopt_permit(id, now, rules));
        }
        let lost = says_permit && lease.is_none() || self[id].tainted;
        Noted {
            rank: self.rank(id),
            until: lease.map(|lease| lease.until),
            lost,
            moved,
        }
    }

    /// A new member, at the place that it reports if that one is possible.
    pub(super) fn admit_as(
        &mut self,
        node: Node,
        place: NodePlace,
        rank: Option<Rank>,
        context: &Context,
    ) -> MemberId {
        if rank.is_some_and(|rank| rank.epoch < self.anew) {
            let id = self.admit(node, place, context.now, context.rules);
            self[id].tainted = true;
            return id;
        }
        let chain = rank.and_then(|rank| Some((rank, self.chain_of(rank, place, context)?)));
        let Some((Rank { place: at, .. }, chain)) = chain else {
            return self.admit(node, place, context.now, context.rules);
        };
        let is_taken = |herd: &Self, id: &MemberId| herd[*id].place == at;
        if self[chain].members.iter().any(|id| is_taken(self, id)) {
            return self.admit(node, place, context.now, context.rules);
        }
        let id = self.push(Member::new(node, chain, at, context.now));
        self.flying += 1;
        let members = &self[chain].members;
        let behind = members.partition_point(|&other| self[other].place < at);
        self[chain].members.insert(behind, id);
        self[chain].reserve(at);
        id
    }

    /// The chain of a rank that another gave, made if it is not there.
    fn chain_of(&mut self, rank: Rank, place: NodePlace, context: &Context) -> Option<ChainId> {
        let Rank { epoch, rack, .. } = rank;
        let latest = context.latest.saturating_add(SKEW);
        if epoch > latest || rack >= MAX_NUMBER || rank.place >= MAX_NUMBER {
            return None;
        }
        let number = Number { epoch, rack };
        if let Some(&chain) = self.ranked.get(&number) {
            let fits = self[chain].rack == place.rack
                && self[chain].members.len() < context.rules.chain.saturating_mul(2);
            return fits.then_some(chain);
        }
        // New ranks come after all ranks from other instances.
        if epoch >= self.epoch {
            if self.ranked.keys().any(|number| number.epoch == self.epoch) && epoch == self.epoch {
                self.next = self.next.max(rack + 1);
            } else {
                (self.epoch, self.next) = (epoch + 1, 0);
            }
        }
        let chain = self.new_chain(place);
        self.set_rank(chain, number, 0);
        Some(chain)
    }

    /// A node of which only its report is known. Without a rank no node is sent to it: it may
    /// itself be taking from that node.
    fn adopt(
        &mut self,
        node: Node,
        place: NodePlace,
        rank: Option<Rank>,
        permit: bool,
        context: &Context,
    ) -> MemberId {
        let id = self.admit_as(node, place, rank, context);
        self.set_state(id, State::Fetching);
        let chain = self[id].chain;
        let keeps = rank.is_some() && self.rank(id) == rank;
        self[id].leaf = !keeps && !permit;
        if permit {
            self.give_rank(chain, 0);
        }
        id
    }

    fn adopt_permit(&mut self, id: MemberId, now: Ms, rules: &Rules) -> Lease {
        self.unlink(id);
        let chain = self[id].chain;
        if !self.has_other_gateway(id) {
            self.drop_parent(chain);
            self[chain].gateway = Some(id);
        }
        self.hold(id, Reason::Turn, now, rules)
    }
}
