//! Who is in whose rack. The nodes of a rack are told of each other, so that they can coordinate while
//! no server answers.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use parking_lot::Mutex;
use piccolo_api::{Group, Holder, Mates};
use topology::{RackId, Topology};

use crate::{
    nodes::Nodes,
    store::{NodeKey, SpaceId},
};

/// Nodes per millisecond of the refresh interval, which is at least a second. One scan of all nodes
/// refreshes all lists: 50,000 nodes are scanned about twice a minute.
const NODES_PER_MS: usize = 2;
/// Most nodes in one list.
const MAX_NODES: usize = 64;

/// The lists of all groups' racks.
#[derive(Debug, Default)]
pub(crate) struct RackLists(Mutex<HashMap<(Group, SpaceId), Made>>);

/// The lists of one group and family, and when they were made.
#[derive(Debug)]
struct Made {
    at: i64,
    /// For how long, in milliseconds.
    good: i64,
    racks: HashMap<RackId, Mates>,
}

impl RackLists {
    /// The list of the node's rack at `now`, where it is not the one of the version `seen`. `None` too
    /// where another call is just making the lists: the node asks again.
    pub(crate) fn news(
        &self,
        (group, node): (&Group, NodeKey),
        seen: u64,
        (nodes, now): (&Nodes, i64),
        topology: &Topology,
    ) -> Option<Mates> {
        let rack = topology.locate(node.holder.holder()?.ip());
        let key = (group.clone(), node.space);
        let mut lists = self.0.try_lock()?;
        let is_fresh = |made: &Made| (0..made.good).contains(&now.saturating_sub(made.at));
        let made = match lists.get(&key) {
            Some(made) if is_fresh(made) => made,
            _ => {
                let made = look(nodes, node.space, now, topology);
                lists.insert(key.clone(), made);
                lists.get(&key)?
            }
        };
        let mates = made.racks.get(&rack)?;
        (mates.version != seen).then(|| mates.clone())
    }
}

fn look(nodes: &Nodes, space: SpaceId, now: i64, topology: &Topology) -> Made {
    let mut living: Vec<Holder> = nodes
        .view(now)
        .coordinators_in(space)
        .filter_map(|packed| packed.holder())
        .collect();
    living.sort_unstable();
    let good = i64::try_from(living.len() / NODES_PER_MS).unwrap_or(i64::MAX);
    let mut racks: HashMap<RackId, Vec<Holder>> = HashMap::new();
    for holder in living {
        let rack = racks.entry(topology.locate(holder.ip())).or_default();
        if rack.len() < MAX_NODES {
            rack.push(holder);
        }
    }
    let listed = |(rack, holders): (RackId, Vec<Holder>)| {
        let mut hasher = DefaultHasher::new();
        holders.hash(&mut hasher);
        let version = hasher.finish().max(1);
        (rack, Mates { version, holders })
    };
    Made {
        at: now,
        good: good.max(1_000),
        racks: racks.into_iter().map(listed).collect(),
    }
}
