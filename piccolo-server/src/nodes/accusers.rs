//! Who said lately of whom that it does not deliver.

use std::{collections::HashMap, net::IpAddr};

use crate::store::NodeKey;

/// Peers at so many different addresses take a node out.
const ENOUGH: usize = 3;
/// What was said longer ago than this many milliseconds does not count.
const WINDOW: i64 = 60_000;
/// Accused nodes that are remembered; beyond, only those that are accused already.
const MOST: usize = 10_000;

/// Accusations of the last minute.
#[derive(Debug, Default)]
pub(super) struct Accusers(HashMap<NodeKey, Vec<(IpAddr, i64)>>);

impl Accusers {
    /// Takes in that the peer at `by` could not get from `node` what it asked for. Says whether
    /// enough different hosts did, since `heard`: when the node last said that it lives.
    pub(super) fn add(&mut self, node: NodeKey, by: IpAddr, now: i64, heard: i64) -> bool {
        if self.0.len() >= MOST {
            self.0
                .retain(|_, said| said.iter().any(|(_, at)| *at > now - WINDOW));
        }
        if self.0.len() >= MOST && !self.0.contains_key(&node) {
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
