//! Small objects that were fetched just now, until containerd has stored them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use crate::{content::manifest::Manifest, digest::Digest, fetch::want::Want};

/// How long they are kept.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// A verified object in memory.
#[derive(Debug, Clone)]
pub(crate) struct Small {
    pub(crate) bytes: Bytes,
    /// The room that it takes, where there is little for such as it.
    pub(super) room: Option<Arc<OwnedSemaphorePermit>>,
}

/// Objects of `most` bytes in all, each kept for a while.
#[derive(Debug)]
pub(super) struct Cache {
    table: Mutex<CachedObjects>,
    most: usize,
}

#[derive(Debug)]
struct CachedObjects {
    /// Objects with expiry times, soonest first.
    objects: LruCache<Held, (Small, Instant)>,
    bytes: usize,
}

/// What is kept, for the repository under whose name it was fetched: it may be a manifest, which is asked
/// for as a blob as well.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Held {
    digest: Digest,
    registry: Option<String>,
    repository: String,
}

impl From<&Want> for Held {
    fn from(want: &Want) -> Self {
        Self {
            digest: want.digest.clone(),
            registry: want.registry.clone(),
            repository: want.repository.clone(),
        }
    }
}

impl Small {
    /// Whether it is too large to be kept besides others.
    pub(crate) fn is_large(&self) -> bool {
        self.room.is_some()
    }

    /// The media type of a manifest, `None` where it is none.
    pub(crate) fn media_type(&self) -> Option<String> {
        if self.is_large() {
            return None;
        }
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
    pub(super) fn new(most: usize) -> Self {
        Self {
            table: Mutex::default(),
            most,
        }
    }

    /// Forgets the oldest. Gives whether there was one.
    pub(super) fn forget_one(&self) -> bool {
        self.table.lock().forget_oldest()
    }

    pub(super) fn get(&self, want: &Want) -> Option<Small> {
        let mut table = self.table.lock();
        table.expire(Instant::now());
        let held = table.objects.peek(&Held::from(want));
        held.map(|(small, _)| small.clone())
    }

    /// Whether it is kept, under any name.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        let mut table = self.table.lock();
        table.expire(Instant::now());
        table.objects.iter().any(|(held, _)| held.digest == *digest)
    }

    pub(super) fn put(&self, want: &Want, small: &Small) {
        let mut table = self.table.lock();
        let now = Instant::now();
        table.expire(now);
        let held = Held::from(want);
        if table.objects.contains(&held) {
            return;
        }
        while table.bytes + small.bytes.len() > self.most && table.forget_oldest() {}
        table.bytes += small.bytes.len();
        let end = now + KEPT_FOR;
        table.objects.put(held, (small.clone(), end));
    }

    /// Forgets what was kept long enough.
    pub(super) fn tidy(&self) {
        self.table.lock().expire(Instant::now());
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
