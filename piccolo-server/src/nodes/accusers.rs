//! Which peers recently reported which nodes as not delivering, and how many nodes may be out for that.

use std::{collections::HashMap, net::IpAddr};

use crate::{
    patience::Agent,
    store::{NodeKey, SpaceId},
};

/// Number of different addresses whose accusations take a node out.
pub(super) const ENOUGH: usize = 3;
/// Accusations older than this do not count, in milliseconds.
const WINDOW: i64 = 60_000;
/// Accused nodes that are remembered; beyond, only those that are accused already. Not an LRU cache: an
/// accusation of further nodes must not evict the accusations that are about to take a node out.
const MAX_ACCUSED: usize = 10_000;
/// One in this many nodes of a group may be out, and one in any case.
const SHARE: u32 = 10;
/// How long, in milliseconds, the count of a group's nodes is used.
const COUNTED_MS: i64 = 1_000;

/// Accusations of the last minute.
#[derive(Debug, Default)]
pub(super) struct Accusers {
    said: HashMap<NodeKey, Vec<(IpAddr, i64)>>,
    counts: HashMap<(SpaceId, Agent), (i64, OutCount)>,
}

/// Nodes of one space.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct OutCount {
    pub(super) alive: u32,
    pub(super) out: u32,
}

/// What became of one node's report of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accusation {
    /// It counts, and more are needed.
    Counted,
    /// It was the one that was needed: the node is out until its next keepalive.
    TakesOut,
    /// Who said it, or of whom, is no node that is alive.
    NoNode,
    /// Who said it was not sent to that node.
    NotHanded,
    /// It was the one that was needed, but too many of the group are out.
    TooManyOut,
}

impl Accusation {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Counted | Self::TakesOut => "counted",
            Self::NoNode => "no_node",
            Self::NotHanded => "not_handed",
            Self::TooManyOut => "too_many_out",
        }
    }
}

impl Accusers {
    /// Notes that the peer at `by` could not fetch from `node`. Returns whether `enough` different
    /// hosts did since `heard`, the node's last keepalive.
    pub(super) fn add(
        &mut self,
        node: NodeKey,
        by: IpAddr,
        (now, heard): (i64, i64),
        enough: usize,
    ) -> bool {
        if self.said.len() >= MAX_ACCUSED {
            self.said
                .retain(|_, said| said.iter().any(|(_, at)| *at > now - WINDOW));
        }
        if self.said.len() >= MAX_ACCUSED && !self.said.contains_key(&node) {
            return false;
        }
        let said = self.said.entry(node).or_default();
        said.retain(|(who, at)| *who != by && *at > heard && *at > now - WINDOW);
        said.push((by, now));
        if said.len() < enough {
            return false;
        }
        self.said.remove(&node);
        true
    }

    /// Whether one more node with such an agent may be out of a space. `count` counts them all.
    pub(super) fn may_take_out(
        &mut self,
        which: (SpaceId, Agent),
        now: i64,
        count: impl FnOnce() -> OutCount,
    ) -> bool {
        self.counts
            .retain(|_, (at, _)| (0..COUNTED_MS).contains(&now.saturating_sub(*at)));
        let (_, counted) = self.counts.entry(which).or_insert_with(|| (now, count()));
        let most = (counted.alive.saturating_add(counted.out) / SHARE).max(1);
        let may = counted.out < most;
        if may {
            counted.out += 1;
            counted.alive = counted.alive.saturating_sub(1);
        }
        may
    }
}
