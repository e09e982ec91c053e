//! The nodes that want one key, and which of them fetches from which.
//!
//! Members are never removed one by one, so an id stays good as long as the herd. Times are
//! milliseconds since the herd began.

mod ask;
mod chain;
mod chain_id;
mod failure;
mod gateway;
mod member;
mod neighbour;
mod permits;
mod restore;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

pub(crate) use ask::Source;
pub(crate) use ask::{Ask, Found, Verdict};
pub(crate) use member::{Ms, ms};
pub(crate) use restore::{Noted, Said};

use chain::{Chain, Number, Opening};
use chain_id::ChainId;
use member::{Member, MemberId, State};
use permits::Lease;

use crate::budget::Bucket;
use crate::identity::Node;
use crate::pace::Paces;
use crate::{Event, NodePlace, Rack, Rank, Rules, Zone};

/// Parameters of one call.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now: Ms,
    pub(crate) rules: &'a Rules,
    pub(crate) bucket: &'a mut Bucket,
    /// What is known of registries.
    pub(crate) paces: &'a mut Paces,
    /// No permit is given before.
    pub(crate) hush: Ms,
    /// The token bucket's time.
    pub(crate) clock: Duration,
    /// The latest epoch that an instance could have by now.
    pub(crate) latest: u32,
}

#[derive(Debug)]
pub(crate) struct Herd {
    /// When it began.
    pub(crate) origin: Duration,
    /// What happened since the caller last looked.
    pub(crate) events: Vec<(Option<Node>, Event)>,
    pub(crate) counts: Counts,
    epoch: u32,
    /// Ranks of earlier epochs were given before a cut.
    anew: u32,
    /// How often what nodes had of the key was cut.
    cuts: u8,
    fan: usize,
    next: u32,
    members: Vec<Member>,
    index: HashMap<Node, MemberId>,
    chains: Vec<Chain>,
    racks: HashMap<Rack, Vec<ChainId>>,
    zones: Vec<Zone>,
    ranked: BTreeMap<Number, ChainId>,
    open: BTreeSet<Opening>,
    leases: Vec<Lease>,
    /// Whether a permit was lost for its holder's pace: once, as it may be the registry's all the same.
    has_given_way: bool,
    permit_free_since: Ms,
    touched: Ms,
    swept: Ms,
    /// Members that want the key and do not have it.
    flying: usize,
    done: usize,
    scratch: Vec<MemberId>,
}

/// Counters of a herd.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) turns: u64,
    pub(crate) patience: u64,
    pub(crate) lost: u64,
    pub(crate) moves: u64,
    pub(crate) slow: u64,
    pub(crate) completed: u64,
    pub(crate) deepest: u16,
}

impl Herd {
    pub(crate) fn new(origin: Duration, epoch: u32, fan: usize) -> Self {
        Self {
            origin,
            events: Vec::new(),
            counts: Counts::default(),
            epoch,
            anew: 0,
            cuts: 0,
            fan,
            next: 0,
            members: Vec::new(),
            index: HashMap::new(),
            chains: Vec::new(),
            racks: HashMap::new(),
            zones: Vec::new(),
            ranked: BTreeMap::new(),
            open: BTreeSet::new(),
            leases: Vec::new(),
            has_given_way: false,
            permit_free_since: 0,
            touched: 0,
            swept: 0,
            flying: 0,
            done: 0,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn knows(&self, node: Node) -> bool {
        self.index.contains_key(&node)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = Node> {
        self.members.iter().map(|member| member.node)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn flying(&self) -> usize {
        self.flying
    }

    pub(crate) fn permits(&self) -> usize {
        self.leases.len()
    }

    /// Whether no node needs the state any more.
    pub(crate) fn is_settled(&self, now: Ms, rules: &Rules) -> bool {
        let quiet = now.saturating_sub(self.touched);
        let nobody = self.flying == 0 && self.leases.is_empty();
        nobody && quiet >= member::ms(rules.settle)
    }

    /// Takes out members that have been silent for long, and ends expired leases.
    pub(crate) fn tick(&mut self, now: Ms, rules: &Rules) {
        self.expire(now, rules);
        self.free_places(now, rules);
        let silence = member::ms(rules.silence);
        if now.saturating_sub(self.swept) < silence / 4 {
            return;
        }
        self.swept = now;
        for id in self.ids() {
            let member = &self[id];
            if member.is_flying() && now.saturating_sub(member.heard) >= silence {
                self.take_out(id, now);
            }
        }
    }

    /// The member has it all.
    pub(crate) fn complete(&mut self, node: Node, now: Ms) {
        let Some(&id) = self.index.get(&node) else {
            return;
        };
        self.touched = now;
        self.return_permit(id);
        if self[id].is_flying() {
            self.counts.completed += 1;
        }
        self.set_state(id, State::Done);
        self.unlink(id);
        let member = &mut self[id];
        member.heard = now;
        member.fed_at = member.fed_at.min(now);
        member.leaf = false;
        let chain = member.chain;
        self.give_rank(chain, 0);
    }

    /// Milliseconds during which a failed source is not accepted as a holder.
    const DOUBT: Ms = 5_000;

    /// A node had the whole object before the first request.
    pub(crate) fn holder(&mut self, node: Node, place: NodePlace, now: Ms, rules: &Rules) {
        let Some(&id) = self.index.get(&node) else {
            let id = self.admit(node, place, now, rules);
            // It got its copy without these rules, so it does not count as theirs.
            self.set_state(id, State::Done);
            self.complete(node, now);
            return;
        };
        let member = &self[id];
        // The caller may not know yet that the node has lost it. A node that fetches the key reports its
        // own completion, and a node that turned out to lack it is not used for a while.
        let is_known = match member.state {
            State::Waiting | State::Fetching => false,
            State::Out => now.saturating_sub(member.heard) >= Self::DOUBT,
            State::Done => true,
        };
        if is_known {
            self.complete(node, now);
        }
    }

    /// The member no longer has it; the members that take from it will ask again.
    pub(crate) fn withdrawn(&mut self, node: Node, now: Ms) {
        let Some(&id) = self.index.get(&node) else {
            return;
        };
        if self[id].state == State::Done {
            self.drop_kids(id);
            self[id].has_nothing();
            self.take_out(id, now);
        }
    }

    /// A new member at the end of its rack's chain.
    fn admit(&mut self, node: Node, place: NodePlace, now: Ms, rules: &Rules) -> MemberId {
        let chain = self.chain_for(place, rules);
        let number = self[chain].take_place();
        let id = self.push(Member::new(node, chain, number, now));
        self[chain].members.push(id);
        self.flying += 1;
        id
    }

    fn push(&mut self, member: Member) -> MemberId {
        // Doubling would waste half of the room of a large herd.
        if self.members.len() == self.members.capacity() {
            self.members.reserve_exact(self.members.len() / 8 + 8);
        }
        let id = MemberId::new(self.members.len());
        self.index.insert(member.node, id);
        self.members.push(member);
        id
    }

    fn ids(&self) -> impl Iterator<Item = MemberId> + use<> {
        (0..self.members.len()).map(MemberId::new)
    }

    fn set_state(&mut self, id: MemberId, state: State) {
        let before = self[id].state;
        let flying = |state| matches!(state, State::Waiting | State::Fetching);
        self.flying = self.flying + usize::from(flying(state)) - usize::from(flying(before));
        let done = |state| usize::from(state == State::Done);
        self.done = self.done + done(state) - done(before);
        self[id].state = state;
    }

    fn rank(&self, id: MemberId) -> Option<Rank> {
        let member = &self[id];
        let Number { epoch, rack } = self[member.chain].number?;
        Some(Rank {
            epoch,
            rack,
            place: member.place,
        })
    }

    fn say(&mut self, id: MemberId, event: Event) {
        let node = self[id].node;
        self.say_of(Some(node), event);
    }

    pub(crate) fn say_of(&mut self, node: Option<Node>, event: Event) {
        self.events.push((node, event));
    }

    /// Approximate memory in bytes.
    pub(crate) fn size(&self) -> usize {
        let index = self.index.capacity() * 8 / 7 * (size_of::<(Node, MemberId)>() + 1);
        let chains: usize = self.chains.iter().map(Chain::size).sum();
        // A rack has an entry of the table and a list of chains; a ranked chain is in two trees.
        let rack = size_of::<(Rack, Vec<ChainId>)>() * 8 / 7 + 4 * size_of::<ChainId>();
        let trees = size_of::<(Number, ChainId)>() + size_of::<Opening>();
        self.members.capacity() * size_of::<Member>()
            + index
            + chains
            + self.racks.capacity() * rack
            + self.ranked.len() * trees * 2
    }
}

impl std::ops::Index<MemberId> for Herd {
    type Output = Member;

    fn index(&self, id: MemberId) -> &Member {
        &self.members[id.index()]
    }
}

impl std::ops::IndexMut<MemberId> for Herd {
    fn index_mut(&mut self, id: MemberId) -> &mut Member {
        &mut self.members[id.index()]
    }
}

impl std::ops::Index<ChainId> for Herd {
    type Output = Chain;

    fn index(&self, id: ChainId) -> &Chain {
        &self.chains[id.index()]
    }
}

impl std::ops::IndexMut<ChainId> for Herd {
    fn index_mut(&mut self, id: ChainId) -> &mut Chain {
        &mut self.chains[id.index()]
    }
}
