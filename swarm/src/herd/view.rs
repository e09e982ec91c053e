//! A view of a herd.

use super::Herd;
use super::chain::Chain;
use super::member::{MemberId, State};
use crate::identity::Node;
use crate::{MemberView, Phase, RackView, Reason};

impl Herd {
    /// How many are in each state: waiting, fetching, done, out.
    pub(crate) fn phases(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for member in &self.members {
            let at = match member.state {
                State::Waiting => 0,
                State::Fetching => 1,
                State::Done => 2,
                State::Out => 3,
            };
            counts[at] += 1;
        }
        counts
    }

    /// How many feed nobody since they are slow.
    pub(crate) fn slow_ones(&self) -> usize {
        self.members.iter().filter(|member| member.slow).count()
    }

    pub(crate) fn holders_of_permits(&self) -> impl Iterator<Item = (Node, Reason)> {
        let leases = self.leases.iter();
        leases.map(|lease| (self[lease.member].node, lease.reason))
    }

    /// The chains, those with a place in the order first, in their order.
    pub(crate) fn racks(&self) -> Vec<RackView<Node>> {
        let ranked = self.ranked.values().map(|&chain| &self[chain]);
        let others = self.chains.iter().filter(|chain| chain.number.is_none());
        ranked.chain(others).map(|chain| self.rack(chain)).collect()
    }

    fn rack(&self, chain: &Chain) -> RackView<Node> {
        let done = |id: &&MemberId| self[**id].state == State::Done;
        RackView {
            rack: chain.rack,
            zone: chain.zone,
            number: chain.number.map(|number| number.rack),
            level: chain.level,
            members: chain.members.len(),
            complete: chain.members.iter().filter(done).count(),
            gateway: chain.gateway.map(|id| self[id].node),
            parent: chain.parent.map(|parent| self[parent].rack),
            fan: chain.kids,
        }
    }

    pub(crate) fn member(&self, node: Node) -> Option<MemberView<Node>> {
        self.index.get(&node).map(|&id| self.view(id))
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = MemberView<Node>> {
        self.ids().map(|id| self.view(id))
    }

    fn view(&self, id: MemberId) -> MemberView<Node> {
        let member = &self[id];
        MemberView {
            node: member.node,
            rack: self[member.chain].rack,
            rank: self.rank(id),
            phase: match member.state {
                State::Waiting => Phase::Waiting,
                State::Fetching => Phase::Fetching,
                State::Done => Phase::Complete,
                State::Out => Phase::Out,
            },
            sources: self.sources(id).map(|id| self[id].node).collect(),
            feeds: member
                .kids
                .into_iter()
                .flatten()
                .map(|id| self[id].node)
                .collect(),
            bytes: member.bytes,
            depth: member.depth,
            permit: self.lease(id).map(|lease| lease.reason),
            slow: member.slow,
            barred: member.barred,
        }
    }
}
