//! Who fetched an object from this node lately, and so has it now.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use piccolo_api::Holder;

use crate::digest::Digest;

/// Objects of which it is remembered; the oldest is forgotten first.
const OBJECTS: usize = 512;
/// Agents remembered for each, the latest.
const AGENTS: usize = 4;

/// Names that are given out with "busy".
#[derive(Debug, Default)]
pub(super) struct Alternates(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    agents: HashMap<Digest, VecDeque<Holder>>,
    order: VecDeque<Digest>,
}

impl Alternates {
    /// `agent` has got the whole object.
    pub(super) fn add(&self, digest: &Digest, agent: Holder) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !table.agents.contains_key(digest) {
            if table.order.len() >= OBJECTS
                && let Some(oldest) = table.order.pop_front()
            {
                table.agents.remove(&oldest);
            }
            table.order.push_back(digest.clone());
        }
        let agents = table.agents.entry(digest.clone()).or_default();
        agents.retain(|a| *a != agent);
        agents.push_back(agent);
        if agents.len() > AGENTS {
            agents.pop_front();
        }
    }

    /// Others than `asker` that have the object, the latest first.
    pub(super) fn of(&self, digest: &Digest, asker: Option<Holder>) -> Vec<Holder> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let agents = table.agents.get(digest);
        agents
            .into_iter()
            .flatten()
            .rev()
            .copied()
            .filter(|a| Some(*a) != asker)
            .collect()
    }
}
