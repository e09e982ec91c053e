//! Views of the herds, for operators.

use std::hash::Hash;
use std::time::Duration;

use super::Swarm;
use crate::herd::Herd;
use crate::identity::Node;
use crate::{Explanation, Key, MemberView, RackView, Totals};

impl<A: Copy + Eq + Hash> Swarm<A> {
    /// The keys that some node wants, sorted.
    pub fn keys(&self) -> impl Iterator<Item = Key> + use<A> {
        self.sorted(|_| true).into_iter()
    }

    /// One key's herd, with at most `most_racks` of its racks; `None` where no node wants the key.
    pub fn explain(&self, now: Duration, key: Key, most_racks: usize) -> Option<Explanation<A>> {
        let herd = self.herds.get(&key)?;
        let [waiting, fetching, complete, out] = herd.phases();
        let counts = herd.counts;
        let permitted = counts.turns + counts.patience;
        let permits = herd.holders_of_permits();
        let racks = herd.racks().into_iter().take(most_racks);
        Some(Explanation {
            key,
            seconds: now.saturating_sub(herd.origin).as_secs_f64(),
            waiting,
            fetching,
            complete,
            out,
            slow: herd.slow_ones(),
            permits: permits
                .filter_map(|(node, reason)| Some((self.names.name(node)?, reason)))
                .collect(),
            permitted,
            permits_lost: counts.lost,
            copies_saved: counts.completed.saturating_sub(permitted),
            deepest: counts.deepest,
            racks: racks.map(|rack| self.named_rack(&rack)).collect(),
        })
    }

    /// The path from a node to its root, along first sources.
    pub fn trace(&self, key: Key, node: A) -> Vec<MemberView<A>> {
        let Some(herd) = self.herds.get(&key) else {
            return Vec::new();
        };
        let mut path = Vec::new();
        let mut at = self.names.number(node);
        while let Some(member) = at.and_then(|node| herd.member(node))
            && path.len() < herd.len()
        {
            at = member.sources.first().copied();
            path.extend(self.named(member));
        }
        path
    }

    /// All nodes of one key's herd.
    pub fn members(&self, key: Key) -> impl Iterator<Item = MemberView<A>> + '_ {
        let members = self.herds.get(&key).into_iter().flat_map(Herd::members);
        members.filter_map(|member| self.named(member))
    }

    /// Sums over all keys.
    pub fn totals(&self) -> Totals {
        let herds = || self.herds.values();
        let entry = size_of::<(Key, Herd)>() + 1;
        let sizes: usize = herds().map(Herd::size).sum();
        Totals {
            keys: self.herds.len(),
            members: self.members,
            wanting: herds().map(Herd::flying).sum(),
            permits: herds().map(Herd::permits).sum(),
            depth: herds().map(|herd| herd.counts.deepest).max().unwrap_or(0),
            bytes_of_memory: sizes + self.herds.capacity() * 8 / 7 * entry + self.names.size(),
            ..self.sums
        }
    }

    fn named_rack(&self, rack: &RackView<Node>) -> RackView<A> {
        RackView {
            gateway: rack.gateway.and_then(|node| self.names.name(node)),
            rack: rack.rack,
            zone: rack.zone,
            number: rack.number,
            level: rack.level,
            members: rack.members,
            complete: rack.complete,
            parent: rack.parent,
            fan: rack.fan,
        }
    }

    fn named(&self, member: MemberView<Node>) -> Option<MemberView<A>> {
        let names = |nodes: Vec<Node>| {
            let names = nodes.into_iter();
            names.filter_map(|node| self.names.name(node)).collect()
        };
        Some(MemberView {
            node: self.names.name(member.node)?,
            sources: names(member.sources),
            feeds: names(member.feeds),
            rack: member.rack,
            rank: member.rank,
            phase: member.phase,
            bytes: member.bytes,
            depth: member.depth,
            permit: member.permit,
            slow: member.slow,
            barred: member.barred,
        })
    }
}
