//! Sizes of objects, learned from manifests that were served.

use std::{num::NonZeroUsize, time::Duration};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{content::manifest::Descriptor, digest::Digest};

/// Objects of which the size is remembered; the oldest is forgotten first.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Manifests of this node that are remembered to have passed, and for how long: sizes that they
/// told may be forgotten by then.
const MANIFESTS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
const PASSED: Duration = Duration::from_mins(1);

/// Known sizes.
#[derive(Debug)]
pub(crate) struct Hints {
    sizes: Mutex<LruCache<Digest, u64>>,
    passed: Mutex<LruCache<Digest, Instant>>,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            sizes: Mutex::new(LruCache::new(MOST)),
            passed: Mutex::new(LruCache::new(MANIFESTS)),
        }
    }
}

impl Hints {
    pub(crate) fn learn(&self, children: &[Descriptor]) {
        let mut sizes = self.sizes.lock();
        // A manifest of schema 1 does not say the sizes.
        for child in children.iter().filter(|c| c.size > 0).take(MOST.get()) {
            sizes.put(child.digest.clone(), child.size);
        }
    }

    /// A manifest passes at `now`. Whether it did not do so lately.
    pub(crate) fn is_news(&self, manifest: &Digest, now: Instant) -> bool {
        let mut passed = self.passed.lock();
        if passed.peek(manifest).is_some_and(|at| now - *at < PASSED) {
            return false;
        }
        passed.put(manifest.clone(), now);
        true
    }

    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        self.sizes.lock().peek(digest).copied()
    }
}
