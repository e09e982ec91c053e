//! The chunk list of one blob: carried from the source that feeds this node, or made of what is in the file.

use std::{collections::BTreeMap, io, os::unix::fs::FileExt as _, sync::Arc, time::Duration};

use daemon::telemetry::chain;
use piccolo_api::Holder;
use tokio::sync::Semaphore;
use tracing::debug;

use super::{Ended, Growing, Reached};
use crate::{
    chunks::{CHUNK, ChunkDigest, ChunkHasher, end_of},
    disk,
    http::Span,
};

/// Threads that hash chunks at the same time.
static HASHING: Semaphore = Semaphore::const_new(4);
/// Deadline of the disk for reading a chunk that was just written.
const HASH: Duration = Duration::from_secs(30);
/// Bytes hashed at a time.
const PIECE: usize = 64 << 10;

/// Digests by chunk number, and the node that made them.
#[derive(Debug, Default)]
pub(super) struct List {
    digests: BTreeMap<u64, ChunkDigest>,
    maker: Option<Holder>,
}

/// How a digest agrees with the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It is the one of the list, or the first of its chunk.
    Fits,
    /// The list has another one for the chunk.
    Differs,
}

impl Growing {
    /// Notes the digest of the chunk that begins at `start`, before its bytes go to containerd.
    pub(crate) fn note(&self, start: u64, digest: ChunkDigest) -> Noted {
        let mut list = self.list.lock();
        let known = *list.digests.entry(start / CHUNK).or_insert(digest);
        if known != digest {
            return Noted::Differs;
        }
        // Still under the lock, so that the published length never shrinks.
        self.reached.send_if_modified(|reached| {
            let before = reached.listed;
            while reached.listed < self.total && list.has(reached.listed) {
                reached.listed = end_of(reached.listed, self.total);
            }
            reached.listed > before
        });
        drop(list);
        self.settle();
        Noted::Fits
    }

    /// Keeps the list of a blob that containerd has committed, once that is whole.
    pub(super) fn settle(&self) {
        let reached = self.reached();
        if reached.end != Some(Ended::Committed) || reached.listed < self.total {
            return;
        }
        let list = self.list.lock().digests.values().copied().collect();
        self.proofs.committed(&self.digest, &self.data, list);
    }

    /// The node that made the list; `None` if it is this one.
    pub(crate) fn maker(&self) -> Option<Holder> {
        self.list.lock().maker
    }

    /// Bytes arrived from a node, or by its list. The first such node is the maker of the whole list.
    pub(crate) fn came_from(&self, maker: Holder) {
        self.list.lock().maker.get_or_insert(maker);
    }

    /// Waits until the chunk that begins at `start` can be passed on, with its digest; `None` where
    /// it will not be.
    pub(crate) async fn chunk(&self, start: u64) -> Option<(u64, ChunkDigest)> {
        let end = end_of(start, self.total);
        let is_there = |r: &Reached| r.bytes.min(r.listed) >= end;
        // Committed bytes may have no digest yet.
        let is_lost = |r: &Reached| match r.end {
            None => r.withdrawn,
            Some(Ended::Committed) => r.withdrawn || r.bytes < end,
            Some(Ended::Vanished) => true,
        };
        let mut reached = self.reached.subscribe();
        let ended = reached.wait_for(|r| is_there(r) || is_lost(r));
        let reached = *ended.await.ok()?;
        if is_lost(&reached) {
            return None;
        }
        let digest = self.list.lock().digests.get(&(start / CHUNK)).copied()?;
        Some((end, digest))
    }

    /// Makes what the list does not have: of bytes that came from the registry, from a node that has
    /// the whole blob, or before this agent began. What comes with digests is never hashed here.
    pub(super) async fn make_list(self: Arc<Self>) {
        while let Some(chunk) = self.unlisted().await {
            let growing = Arc::clone(&self);
            match disk::apart(&HASHING, HASH, move || growing.hash(chunk)).await {
                Ok(digest) => {
                    // A present digest was received from a node concurrently, and takes precedence.
                    self.note(chunk.start(), digest);
                }
                Err(error) => {
                    let error = chain(&error);
                    debug!(digest = %self.digest, %error, "a chunk cannot be read: nobody is fed");
                    self.withdraw();
                    return;
                }
            }
        }
    }

    /// Waits for a chunk that is present without its digest.
    async fn unlisted(&self) -> Option<Span> {
        let chunk = |r: &Reached| Span::new(r.listed, end_of(r.listed, self.total));
        let is_all = |r: &Reached| r.listed >= self.total;
        let is_there = |r: &Reached| !is_all(r) && r.bytes >= chunk(r).end();
        let mut reached = self.reached.subscribe();
        let over = reached.wait_for(|r| is_there(r) || is_all(r) || r.is_over());
        let reached = *over.await.ok()?;
        let wanted = !reached.withdrawn && reached.end != Some(Ended::Vanished);
        (wanted && is_there(&reached)).then(|| chunk(&reached))
    }

    fn hash(&self, chunk: Span) -> io::Result<ChunkDigest> {
        let mut hasher = ChunkHasher::default();
        let mut piece = vec![0; PIECE];
        let mut offset = chunk.start();
        while offset < chunk.end() {
            let left = usize::try_from(chunk.end() - offset).unwrap_or(PIECE);
            let room = piece.get_mut(..left.min(PIECE)).unwrap_or_default();
            self.data.read_exact_at(room, offset)?;
            hasher.update(room);
            offset += u64::try_from(room.len()).unwrap_or(u64::MAX);
        }
        Ok(hasher.finish())
    }
}

impl List {
    fn has(&self, offset: u64) -> bool {
        self.digests.contains_key(&(offset / CHUNK))
    }
}
