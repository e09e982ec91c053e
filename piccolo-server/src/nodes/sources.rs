//! What each address has made: nodes, their keys, and groups. And how much of them one may make.
//!
//! A node belongs to the address from which its set was last changed. Each instance counts what it was
//! told itself, and after a restart what it is told from then on.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use piccolo_api::Group;

use crate::{packed::Family, store::SpaceId};

/// How much may be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caps {
    pub(crate) nodes_per_address: u32,
    pub(crate) nodes_per_group: u32,
    pub(crate) keys_per_address: u64,
    pub(crate) groups_per_address: u32,
}

/// Why a node, a key or a group is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CapError {
    #[error(
        "{source_address} has {most} nodes already, as many as one address may have \
         (--nodes-per-address)"
    )]
    NodesOfAddress { source_address: IpAddr, most: u32 },
    #[error("the group has {most} nodes already, as many as one may have (--nodes-per-group)")]
    NodesOfGroup { most: u32 },
    #[error(
        "the nodes of {source_address} would have more than {most} keys, as many as those of one \
         address may have (--keys-per-address)"
    )]
    KeysOfAddress { source_address: IpAddr, most: u64 },
    #[error(
        "{source_address} has nodes in {most} groups already, as many as one address may make \
         (--groups-per-address)"
    )]
    GroupsOfAddress { source_address: IpAddr, most: u32 },
}

/// What a call is about to make.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The address of the call.
    pub(crate) source: IpAddr,
    /// Whether its node is new to this address.
    pub(crate) is_new_node: bool,
    /// Keys that the address may have more afterwards.
    pub(crate) keys: u64,
    /// Whether they stand in for those that the node has.
    pub(crate) is_whole_set: bool,
    /// The group, where it is new to the server.
    pub(crate) group: Option<(Group, Family)>,
}

/// Room for what a call is about to make; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Admission {
    plan: Plan,
    sources: Arc<Sources>,
}

/// What each address has.
#[derive(Debug, Default)]
pub(crate) struct Sources(Mutex<HashMap<IpAddr, Tally>>);

#[derive(Debug, Default)]
struct Tally {
    keys: u64,
    /// By the spaces in which it has nodes, or that it made lately.
    spaces: Vec<InSpace>,
    /// What calls in flight are about to make.
    planned_nodes: u32,
    planned_keys: u64,
    planned_groups: Vec<(Group, Family, u32)>,
}

#[derive(Debug)]
struct InSpace {
    space: SpaceId,
    nodes: u32,
    /// When it made it, in milliseconds since the Unix epoch; 0 if it did not lately.
    made: i64,
}

impl Plan {
    /// How many of the `held` keys of the node the planned ones stand in for.
    pub(super) fn replaced(&self, held: u32) -> u32 {
        if self.is_whole_set { held } else { 0 }
    }
}

impl Sources {
    /// Takes room for a plan.
    pub(super) fn admit(self: &Arc<Self>, plan: Plan, caps: Caps) -> Result<Admission, CapError> {
        let mut sources = self.0.lock();
        let tally = sources.entry(plan.source).or_default();
        let checked = tally.check(&plan, caps);
        if checked.is_ok() {
            tally.plan(&plan);
        }
        if tally.is_empty() {
            sources.remove(&plan.source);
        }
        drop(sources);
        checked.map(|()| Admission {
            plan,
            sources: Arc::clone(self),
        })
    }

    /// Whether an address has no node.
    pub(super) fn has_none(&self, source: IpAddr) -> bool {
        let sources = self.0.lock();
        sources.get(&source).is_none_or(|tally| tally.nodes() == 0)
    }

    /// A node with `keys` keys is the address's from now on.
    pub(super) fn add(&self, source: IpAddr, space: SpaceId, keys: u32) {
        let mut sources = self.0.lock();
        let tally = sources.entry(source).or_default();
        tally.keys += u64::from(keys);
        tally.in_space(space, |known| known.nodes += 1);
    }

    /// A node with `keys` keys is the address's no more.
    pub(super) fn remove(&self, source: IpAddr, space: SpaceId, keys: u32) {
        let mut sources = self.0.lock();
        let Some(tally) = sources.get_mut(&source) else {
            return;
        };
        tally.keys = tally.keys.saturating_sub(keys.into());
        tally.in_space(space, |known| known.nodes = known.nodes.saturating_sub(1));
        // One that it made a moment ago is forgotten later.
        tally.tidy();
        if tally.is_empty() {
            sources.remove(&source);
        }
    }

    /// A node of the address has another number of keys.
    pub(super) fn keys(&self, source: IpAddr, before: u32, now: u32) {
        if before == now {
            return;
        }
        if let Some(tally) = self.0.lock().get_mut(&source) {
            let without = tally.keys.saturating_sub(before.into());
            tally.keys = without + u64::from(now);
        }
    }

    /// Forgets who made which space before that time; those that have nodes in one stay.
    pub(super) fn forget(&self, before: i64) {
        self.0.lock().retain(|_, tally| {
            for known in &mut tally.spaces {
                if known.made < before {
                    known.made = 0;
                }
            }
            tally.tidy();
            !tally.is_empty()
        });
    }
}

impl Tally {
    fn check(&self, plan: &Plan, caps: Caps) -> Result<(), CapError> {
        let source_address = plan.source;
        let nodes = self.nodes().saturating_add(self.planned_nodes);
        if plan.is_new_node && nodes >= caps.nodes_per_address {
            let most = caps.nodes_per_address;
            return Err(CapError::NodesOfAddress {
                source_address,
                most,
            });
        }
        let keys = self.keys.saturating_add(self.planned_keys);
        if plan.keys > 0 && keys.saturating_add(plan.keys) > caps.keys_per_address {
            let most = caps.keys_per_address;
            return Err(CapError::KeysOfAddress {
                source_address,
                most,
            });
        }
        let Some((group, family)) = &plan.group else {
            return Ok(());
        };
        let is_planned = |(other, of, _): &(Group, Family, u32)| other == group && of == family;
        let groups = self.spaces.len() + self.planned_groups.len();
        let is_full = u32::try_from(groups).is_ok_and(|groups| groups >= caps.groups_per_address);
        if is_full && !self.planned_groups.iter().any(is_planned) {
            let most = caps.groups_per_address;
            return Err(CapError::GroupsOfAddress {
                source_address,
                most,
            });
        }
        Ok(())
    }

    fn plan(&mut self, plan: &Plan) {
        self.planned_nodes += u32::from(plan.is_new_node);
        self.planned_keys += plan.keys;
        let Some((group, family)) = &plan.group else {
            return;
        };
        let mut planned = self.planned_groups.iter_mut();
        match planned.find(|(other, of, _)| other == group && of == family) {
            Some((_, _, times)) => *times += 1,
            None => self.planned_groups.push((group.clone(), *family, 1)),
        }
    }

    fn unplan(&mut self, plan: &Plan) {
        self.planned_nodes = self
            .planned_nodes
            .saturating_sub(u32::from(plan.is_new_node));
        self.planned_keys = self.planned_keys.saturating_sub(plan.keys);
        let Some((group, family)) = &plan.group else {
            return;
        };
        self.planned_groups.retain_mut(|(other, of, times)| {
            if other == group && of == family {
                *times = times.saturating_sub(1);
            }
            *times > 0
        });
    }

    fn nodes(&self) -> u32 {
        self.spaces.iter().map(|known| known.nodes).sum()
    }

    fn in_space(&mut self, space: SpaceId, then: impl FnOnce(&mut InSpace)) {
        if let Some(known) = self.spaces.iter_mut().find(|known| known.space == space) {
            return then(known);
        }
        let mut new = InSpace {
            space,
            nodes: 0,
            made: 0,
        };
        then(&mut new);
        self.spaces.push(new);
    }

    /// Forgets spaces in which it has nothing.
    fn tidy(&mut self) {
        self.spaces
            .retain(|known| known.nodes > 0 || known.made > 0);
    }

    fn is_empty(&self) -> bool {
        self.spaces.is_empty()
            && self.planned_nodes == 0
            && self.planned_keys == 0
            && self.planned_groups.is_empty()
    }
}

impl Admission {
    /// The address of the call.
    pub(crate) fn source(&self) -> IpAddr {
        self.plan.source
    }

    /// The planned group is there, as this space; it counts for the address until nothing of it is left.
    pub(crate) fn made(&self, space: SpaceId, now: i64) {
        if self.plan.group.is_some() {
            let mut sources = self.sources.0.lock();
            let tally = sources.entry(self.plan.source).or_default();
            tally.in_space(space, |known| known.made = now);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut sources = self.sources.0.lock();
        if let Some(tally) = sources.get_mut(&self.plan.source) {
            tally.unplan(&self.plan);
            if tally.is_empty() {
                sources.remove(&self.plan.source);
            }
        }
    }
}
