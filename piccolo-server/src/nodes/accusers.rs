//! Which peers recently reported which nodes as not delivering.

use std::{collections::HashMap, net::IpAddr};

use crate::store::NodeKey;

/// Number of different addresses whose accusations take a node out.
const ENOUGH: usize = 3;
/// Accusations older than this do not count, in milliseconds.
const WINDOW: i64 = 60_000;
/// Accused nodes that are remembered; beyond, only those that are accused already. Not an LRU cache: an
/// accusation of further nodes must not evict the accusations that are about to take a node out.
const MAX_ACCUSED: usize = 10_000;

/// Accusations of the last minute.
#[derive(Debug, Default)]
pub(super) struct Accusers(HashMap<NodeKey, Vec<(IpAddr, i64)>>);

impl Accusers {
    /// Notes that the peer at `by` could not fetch from `node`. Returns whether enough different
    /// hosts did since `heard`, the node's last keepalive.
    pub(super) fn add(&mut self, node: NodeKey, by: IpAddr, now: i64, heard: i64) -> bool {
        if self.0.len() >= MAX_ACCUSED {
            self.0
                .retain(|_, said| said.iter().any(|(_, at)| *at > now - WINDOW));
        }
        if self.0.len() >= MAX_ACCUSED && !self.0.contains_key(&node) {
            return false;
        }
        let said = self.0.entry(node).or_default();
        said.retain(|(who, at)| *who != by && *at > heard && *at > now - WINDOW);
        said.push((by, now));
        if said.len() < ENOUGH {
            return false;
        }
        self.0.remove(&node);
        true
    }
}
