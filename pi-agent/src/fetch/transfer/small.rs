//! Small objects: read into memory, verified, and only then passed on.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    hash::Hasher,
    open::{failed, open},
};
use crate::{
    content::manifest::Manifest,
    datapath::{Floor, SourceError, Tap as _, read_exact},
    digest::Digest,
    fetch::{
        Inner, Want,
        exchange::{Upstream, accept::Ask, error::PeerError},
        peers::candidates::Candidates,
    },
    http::Method,
};

/// Size up to which an object counts as small, in bytes.
pub(crate) const SMALL: u64 = 4 << 20;
/// Bytes of small objects that are read at once; further reads wait.
const READING: usize = 16 << 20;
/// Bytes of small objects that are kept, and for how long: until containerd has stored them.
const KEPT: usize = 8 << 20;
const KEPT_FOR: Duration = Duration::from_secs(30);

/// A verified object in memory.
#[derive(Debug, Clone)]
pub(crate) struct Small {
    pub(crate) bytes: Bytes,
}

/// Why a small object was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// The peer failed; another one may not.
    Failed,
    /// Others are read, and take all the room there is.
    NoRoom,
}

/// Small objects that were fetched just now.
#[derive(Debug)]
pub(crate) struct Cache {
    table: Mutex<Table>,
    reading: Semaphore,
}

#[derive(Debug, Default)]
struct Table {
    objects: HashMap<Digest, (Small, Instant)>,
    order: VecDeque<Digest>,
    bytes: usize,
}

/// Whether an object of `size` bytes counts as small.
pub(crate) fn fits(size: u64) -> bool {
    size <= SMALL
}

/// Fetches a small object from the first candidate that has the right bytes of it, unless several
/// take their time: the registry has it too.
pub(crate) async fn fetch(
    inner: &Inner,
    want: &Want,
    candidates: &mut Candidates,
) -> Option<Small> {
    let end = Instant::now() + inner.settings.open;
    loop {
        let upstream = open(inner, want, Ask::WHOLE, Method::Get, candidates).await?;
        match receive(inner, want, upstream).await {
            Ok(small) => return Some(small),
            Err(Unread::Failed) if Instant::now() < end => {}
            Err(Unread::Failed | Unread::NoRoom) => return None,
        }
    }
}

/// Reads and verifies what a peer is about to send, which has to be the whole object.
pub(crate) async fn receive(
    inner: &Inner,
    want: &Want,
    upstream: Upstream,
) -> Result<Small, Unread> {
    let peer = upstream.link.holder;
    let permits = u32::try_from(upstream.body.total.min(SMALL)).unwrap_or(u32::MAX);
    let room = inner.cache.reading.acquire_many(permits);
    let Ok(Ok(_room)) = timeout(inner.settings.small, room).await else {
        return Err(Unread::NoRoom);
    };
    let enough = inner.settings.small_within(upstream.body.total);
    let read = match timeout(enough, read(inner, want, upstream)).await {
        Ok(read) => read,
        Err(_) => Err(PeerError::Body(SourceError::Stalled)),
    };
    match read {
        Ok(small) => {
            inner.health.delivered(peer);
            Ok(small)
        }
        Err(error) => {
            failed(inner, want, peer, &error);
            Err(Unread::Failed)
        }
    }
}

async fn read(inner: &Inner, want: &Want, upstream: Upstream) -> Result<Small, PeerError> {
    let Upstream {
        mut link,
        body,
        keep_alive,
        ..
    } = upstream;
    let total = match usize::try_from(body.total) {
        Ok(total) if fits(body.total) => total,
        _ => return Err(PeerError::Contradiction("too long for what it is")),
    };
    let mut bytes = vec![0; total];
    let here = link.inbox.take(body.total);
    let meter = link.meter().clone();
    let (head, rest) = bytes.split_at_mut(here.len().min(total));
    head.copy_from_slice(&here);
    meter.received_body(u64::try_from(here.len()).unwrap_or(u64::MAX));
    let mut floor = Floor::new(inner.settings.floor, Instant::now());
    read_exact(&link.stream, rest, &mut floor, |count| {
        meter.received_body(count);
    })
    .await
    .map_err(PeerError::Body)?;
    let mut hasher = Hasher::new(&want.digest);
    hasher.look(&bytes);
    if !hasher.matches() {
        return Err(PeerError::WrongBytes);
    }
    if keep_alive {
        inner.pool.put(link);
    }
    Ok(Small {
        bytes: bytes.into(),
    })
}

impl Small {
    /// The media type of a manifest, `None` where it is none.
    pub(crate) fn media_type(&self) -> Option<String> {
        let manifest = Manifest::parse(&self.bytes).ok()?;
        Some(manifest.media_type("").to_owned())
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            table: Mutex::default(),
            reading: Semaphore::new(READING),
        }
    }
}

impl Cache {
    pub(crate) fn get(&self, digest: &Digest) -> Option<Small> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.expire(Instant::now());
        table.objects.get(digest).map(|(small, _)| small.clone())
    }

    pub(crate) fn put(&self, digest: &Digest, small: &Small) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
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
    pub(crate) fn tidy(&self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
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
