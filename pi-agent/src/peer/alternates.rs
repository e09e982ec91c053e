//! Peers that recently fetched an object from this node, and so have it now.

use std::{collections::VecDeque, num::NonZeroUsize};

use lru::LruCache;
use parking_lot::Mutex;
use piccolo_api::Holder;

use crate::digest::Digest;

/// Objects of which it is remembered; the one that was fetched longest ago is forgotten first.
const OBJECTS: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");
/// Agents remembered for each, the latest.
const AGENTS: usize = 4;

/// Names that are given out with "busy".
#[derive(Debug)]
pub(super) struct Alternates(Mutex<LruCache<Digest, VecDeque<Holder>>>);

impl Default for Alternates {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(OBJECTS)))
    }
}

impl Alternates {
    /// `agent` has got the whole object.
    pub(super) fn add(&self, digest: &Digest, agent: Holder) {
        let mut objects = self.0.lock();
        let agents = objects.get_or_insert_mut_ref(digest, VecDeque::new);
        agents.retain(|a| *a != agent);
        agents.push_back(agent);
        if agents.len() > AGENTS {
            agents.pop_front();
        }
    }

    /// Others than `asker` that have the object, the latest first.
    pub(super) fn of(&self, digest: &Digest, asker: Option<Holder>) -> Vec<Holder> {
        let objects = self.0.lock();
        let agents = objects.peek(digest);
        agents
            .into_iter()
            .flatten()
            .rev()
            .copied()
            .filter(|a| Some(*a) != asker)
            .collect()
    }
}
