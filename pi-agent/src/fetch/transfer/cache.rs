//! Small objects that were fetched just now, until containerd has stored them.

use std::time::Duration;

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{content::manifest::Manifest, digest::Digest};

/// Bytes of small objects that are kept, and for how long.
const KEPT: usize = 8 << 20;
const KEPT_FOR: Duration = Duration::from_secs(30);

/// A verified object in memory.
#[derive(Debug, Clone)]
pub(crate) struct Small {
    pub(crate) bytes: Bytes,
}

/// Small objects, each kept for a while.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<CachedObjects>);

#[derive(Debug)]
struct CachedObjects {
    /// Objects with expiry times, soonest first.
    objects: LruCache<Digest, (Small, Instant)>,
    bytes: usize,
}

impl Small {
    /// The media type of a manifest, `None` where it is none.
    pub(crate) fn media_type(&self) -> Option<String> {
        let manifest = Manifest::parse(&self.bytes).ok()?;
        Some(manifest.media_type("").to_owned())
    }
}

impl Default for CachedObjects {
    fn default() -> Self {
        Self {
            // Bounded by bytes, and by the time that each is kept.
            objects: LruCache::unbounded(),
            bytes: 0,
        }
    }
}

impl Cache {
    pub(super) fn get(&self, digest: &Digest) -> Option<Small> {
        let mut table = self.0.lock();
        table.expire(Instant::now());
        table.objects.peek(digest).map(|(small, _)| small.clone())
    }

    pub(super) fn put(&self, digest: &Digest, small: &Small) {
        let mut table = self.0.lock();
        let now = Instant::now();
        table.expire(now);
        if table.objects.contains(digest) {
            return;
        }
        while table.bytes + small.bytes.len() > KEPT && table.forget_oldest() {}
        table.bytes += small.bytes.len();
        let end = now + KEPT_FOR;
        table.objects.put(digest.clone(), (small.clone(), end));
    }

    /// Forgets what was kept long enough.
    pub(super) fn tidy(&self) {
        self.0.lock().expire(Instant::now());
    }
}

impl CachedObjects {
    fn expire(&mut self, now: Instant) {
        while self
            .objects
            .peek_lru()
            .is_some_and(|(_, (_, end))| *end <= now)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, (small, _))) = self.objects.pop_lru() else {
            return false;
        };
        self.bytes -= small.bytes.len();
        true
    }
}
