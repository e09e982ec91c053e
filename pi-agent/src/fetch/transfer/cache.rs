//! Small objects that were fetched just now, until containerd has stored them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
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
pub(super) struct Cache(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    objects: HashMap<Digest, (Small, Instant)>,
    order: VecDeque<Digest>,
    bytes: usize,
}

impl Small {
    /// The media type of a manifest, `None` where it is none.
    pub(crate) fn media_type(&self) -> Option<String> {
        let manifest = Manifest::parse(&self.bytes).ok()?;
        Some(manifest.media_type("").to_owned())
    }
}

impl Cache {
    pub(super) fn get(&self, digest: &Digest) -> Option<Small> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.expire(Instant::now());
        table.objects.get(digest).map(|(small, _)| small.clone())
    }

    pub(super) fn put(&self, digest: &Digest, small: &Small) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        table.expire(now);
        if table.objects.contains_key(digest) {
            return;
        }
        while table.bytes + small.bytes.len() > KEPT {
            if !table.forget_oldest() {
                break;
            }
        }
        table.bytes += small.bytes.len();
        table.order.push_back(digest.clone());
        let end = now + KEPT_FOR;
        table.objects.insert(digest.clone(), (small.clone(), end));
    }

    /// Forgets what was kept long enough.
    pub(super) fn tidy(&self) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.expire(Instant::now());
    }
}

impl Table {
    fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front() {
            if self.objects.get(oldest).is_some_and(|(_, end)| *end > now) {
                return;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.order.pop_front() else {
            return false;
        };
        if let Some((small, _)) = self.objects.remove(&oldest) {
            self.bytes -= small.bytes.len();
        }
        true
    }
}
