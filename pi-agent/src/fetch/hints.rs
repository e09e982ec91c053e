//! Sizes of objects, as manifests that passed by tell them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use crate::{content::manifest::Descriptor, digest::Digest};

/// Objects of which the size is remembered; the oldest is forgotten first.
const MOST: usize = 4096;

/// Known sizes.
#[derive(Debug, Default)]
pub(super) struct Hints(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    sizes: HashMap<Digest, u64>,
    order: VecDeque<Digest>,
}

impl Hints {
    pub(super) fn learn(&self, children: &[Descriptor]) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A manifest of schema 1 does not say the sizes.
        for child in children.iter().filter(|c| c.size > 0).take(MOST) {
            if table
                .sizes
                .insert(child.digest.clone(), child.size)
                .is_none()
            {
                table.order.push_back(child.digest.clone());
            }
            if table.order.len() > MOST
                && let Some(oldest) = table.order.pop_front()
            {
                table.sizes.remove(&oldest);
            }
        }
    }

    pub(super) fn size(&self, digest: &Digest) -> Option<u64> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.sizes.get(digest).copied()
    }
}
