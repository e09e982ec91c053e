//! Sizes of objects, as manifests that passed by tell them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{content::manifest::Descriptor, digest::Digest};

/// Objects of which the size is remembered; the oldest is forgotten first.
const MOST: usize = 4096;

/// Manifests of this node that are remembered to have passed, and for how long: sizes that they
/// told may be forgotten by then.
const MANIFESTS: usize = 256;
const PASSED: Duration = Duration::from_mins(1);

/// Known sizes.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    sizes: Mutex<Table>,
    passed: Mutex<HashMap<Digest, Instant>>,
}

#[derive(Debug, Default)]
struct Table {
    sizes: HashMap<Digest, u64>,
    order: VecDeque<Digest>,
}

impl Hints {
    pub(crate) fn learn(&self, children: &[Descriptor]) {
        let mut table = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// A manifest passes at `now`. Whether it did not do so lately.
    pub(crate) fn is_news(&self, manifest: &Digest, now: Instant) -> bool {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.get(manifest).is_some_and(|at| now - *at < PASSED) {
            return false;
        }
        if passed.len() >= MANIFESTS {
            passed.retain(|_, at| now - *at < PASSED);
        }
        if passed.len() >= MANIFESTS {
            passed.clear();
        }
        passed.insert(manifest.clone(), now);
        true
    }

    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        let table = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        table.sizes.get(digest).copied()
    }
}
