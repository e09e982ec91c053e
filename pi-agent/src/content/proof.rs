//! Which complete blobs are what their digests say, and the chunk lists of these.
//!
//! A list of a complete blob counts only if containerd verified the blob as the list came to be, or if
//! the read that made it also checked the blob's own digest: a list made of a damaged file fits the
//! damage.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    sync::Arc,
    time::Duration,
};

use daemon::metric::Metric;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::{Instant, timeout_at},
};
use tracing::{debug, warn};

use super::{Content, Object, Source};
use crate::{
    chunks::{CHUNK, ChunkDigest, ChunkHasher, end_of},
    digest::{Digest, DigestHasher},
    disk,
};

pub(super) const DAMAGED: Metric = Metric::counter(
    "piccolo_agent_damaged_blobs_total",
    &[],
    "Blobs that this node was asked for and found to be other than their digests say, on its own disk. \
     They are given to nobody.",
);

/// Blobs that are read whole at the same time. Who finds as many of them does not wait.
static CHECKING: Semaphore = Semaphore::const_new(2);
/// The threads for them.
static THREADS: Semaphore = Semaphore::const_new(2);
/// Bytes hashed at a time.
const PIECE: usize = 64 << 10;
/// Most digests of chunks that are kept in all: lists of 256 GiB of blobs, in 8 MiB.
const MOST: usize = 256 << 10;
/// How long a blob is taken to be as it was read: disks decay.
const RIGHT_FOR: Duration = Duration::from_hours(24);
/// How long a blob is taken to be damaged: the read may have been.
const WRONG_FOR: Duration = Duration::from_mins(10);
/// By how many seconds the time that containerd gives a blob may differ from that of the last write to
/// its ingest.
const COMMIT: u64 = 60;

/// Objects above this size, in bytes, are not given away before they are known to be right.
const PROVED_FROM: u64 = 4 << 20;
/// How long the first who asks for an object waits until it has been read whole. A peer that waits for
/// its first byte goes elsewhere after two seconds.
const PROVED_WITHIN: Duration = Duration::from_millis(800);

/// The digests of a blob's chunks, in their order.
pub(crate) type ChunkList = Arc<[ChunkDigest]>;

/// What is known of the blobs that this node has. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Proofs(Arc<Mutex<KnownBlobs>>);

/// What was found out of a blob.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// It is what its digest says.
    Right(ChunkList),
    /// It is not.
    Wrong,
}

#[derive(Debug)]
struct KnownBlobs {
    known: LruCache<Digest, KnownBlob>,
    /// Digests of chunks in `known`.
    digests: usize,
    /// The checks that go on, since when, by which others wait for them.
    checks: HashMap<Digest, (watch::Sender<()>, Instant)>,
}

#[derive(Debug)]
struct KnownBlob {
    stamp: Stamp,
    proof: Proof,
    until: Instant,
}

/// Which file it was, and when it was last written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    written: Written,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// In seconds and nanoseconds.
    At(i64, i64),
    /// About then, in seconds: containerd sets the time of a blob when it has committed it.
    About(i64),
}

/// A check that goes on, until this is dropped.
struct WholeRead {
    proofs: Proofs,
    digest: Digest,
}

/// What is to be done to know of a blob.
enum Look {
    Known(Proof),
    /// Somebody reads it: wait.
    UnderWay(watch::Receiver<()>, Instant),
    /// Read it.
    New(WholeRead, SemaphorePermit<'static>),
    /// Others are read.
    Busy,
}

impl Content {
    /// An object that was opened, unless it is known to be damaged. A large one that nothing is known of
    /// is read whole first, as far as that is done soon; it goes on in the background where it is not.
    pub(crate) async fn proved(&self, object: Object) -> Option<Object> {
        // Who gets a small one from a peer checks it whole before using it.
        let file = match &object.source {
            Source::File(file) if object.size > PROVED_FROM => file,
            Source::File(_) | Source::Remote(_) | Source::Growing(_) => return Some(object),
        };
        match self.0.proofs.of(&object.digest, file, PROVED_WITHIN).await {
            Some(Proof::Right(list)) => Some(Object {
                chunks: Some(list),
                ..object
            }),
            Some(Proof::Wrong) => None,
            None => Some(object),
        }
    }
}

impl Proofs {
    /// What is known of a blob, after reading it where nothing is known yet. `None` where that takes
    /// longer than `patience`, in which case it goes on, and where too many others are read.
    pub(super) async fn of(
        &self,
        digest: &Digest,
        file: &File,
        patience: Duration,
    ) -> Option<Proof> {
        let stamp = Stamp::of(file).ok()?;
        match self.look(digest, stamp) {
            Look::Known(proof) => return Some(proof),
            Look::Busy => return None,
            Look::UnderWay(mut end, since) => {
                // It ends by dropping the sender. What takes long holds up the first few only.
                let _ = timeout_at(since + patience, end.changed()).await;
            }
            Look::New(check, turn) => {
                let file = file.try_clone().ok()?;
                let work = move || {
                    let _turn = turn;
                    check.run(&file, stamp)
                };
                if let Err(error) = disk::apart(&THREADS, patience, work).await {
                    debug!(%digest, %error, "a blob is not checked before it is sent");
                }
            }
        }
        self.0.lock().known(digest, stamp)
    }

    /// containerd has verified a blob whose chunks have these digests. `data` is open on it.
    pub(super) fn committed(&self, digest: &Digest, data: &File, list: ChunkList) {
        let Ok(stamp) = Stamp::of(data) else { return };
        let stamp = Stamp {
            written: match stamp.written {
                Written::At(seconds, _) | Written::About(seconds) => Written::About(seconds),
            },
            ..stamp
        };
        self.0.lock().put(digest, stamp, Proof::Right(list));
    }

    fn look(&self, digest: &Digest, stamp: Stamp) -> Look {
        let mut table = self.0.lock();
        if let Some(proof) = table.known(digest, stamp) {
            return Look::Known(proof);
        }
        if let Some(check) = table.checks.get(digest) {
            return Look::UnderWay(check.0.subscribe(), check.1);
        }
        let Ok(turn) = CHECKING.try_acquire() else {
            return Look::Busy;
        };
        let begun = (watch::Sender::default(), Instant::now());
        table.checks.insert(digest.clone(), begun);
        let check = WholeRead {
            proofs: self.clone(),
            digest: digest.clone(),
        };
        Look::New(check, turn)
    }
}

impl KnownBlobs {
    fn known(&mut self, digest: &Digest, stamp: Stamp) -> Option<Proof> {
        let known = self.known.get_mut(digest)?;
        if known.until <= Instant::now() || !known.stamp.is_of(stamp) {
            return None;
        }
        known.stamp = stamp;
        Some(known.proof.clone())
    }

    fn put(&mut self, digest: &Digest, stamp: Stamp, proof: Proof) {
        let lasts = match proof {
            Proof::Right(_) => RIGHT_FOR,
            Proof::Wrong => WRONG_FOR,
        };
        let known = KnownBlob {
            stamp,
            proof,
            until: Instant::now() + lasts,
        };
        self.digests += known.proof.weight();
        if let Some(before) = self.known.put(digest.clone(), known) {
            self.digests -= before.proof.weight();
        }
        while self.digests > MOST {
            let Some((_, oldest)) = self.known.pop_lru() else {
                break;
            };
            self.digests -= oldest.proof.weight();
        }
    }
}

impl Proof {
    /// What it counts for: its digests, and one for itself.
    fn weight(&self) -> usize {
        match self {
            Self::Right(list) => list.len() + 1,
            Self::Wrong => 1,
        }
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            written: Written::At(metadata.mtime(), metadata.mtime_nsec()),
        })
    }

    /// Whether it is that of the file that has `other` now.
    fn is_of(self, other: Self) -> bool {
        let is_same = match (self.written, other.written) {
            (Written::About(then), Written::At(now, _)) => then.abs_diff(now) <= COMMIT,
            (before, now) => before == now,
        };
        is_same
            && Self {
                written: other.written,
                ..self
            } == other
    }
}

impl WholeRead {
    /// Reads the blob whole.
    fn run(self, file: &File, stamp: Stamp) -> io::Result<()> {
        let mut hasher = DigestHasher::new(&self.digest);
        let list = read(file, stamp.size, &mut hasher)?;
        if Stamp::of(file)? != stamp {
            return Err(io::Error::other("it was written to meanwhile"));
        }
        let proof = if hasher.matches() {
            Proof::Right(list.into())
        } else {
            metrics::counter!(DAMAGED.name).increment(1);
            warn!(
                digest = %self.digest,
                "a blob in containerd's content store is damaged, and is given to nobody: remove the \
                 images that have it, and pull them again"
            );
            Proof::Wrong
        };
        self.proofs.0.lock().put(&self.digest, stamp, proof);
        Ok(())
    }
}

impl Drop for WholeRead {
    fn drop(&mut self) {
        self.proofs.0.lock().checks.remove(&self.digest);
    }
}

impl Default for KnownBlobs {
    fn default() -> Self {
        Self {
            // Bounded by weight.
            known: LruCache::unbounded(),
            digests: 0,
            checks: HashMap::new(),
        }
    }
}

fn read(file: &File, size: u64, hasher: &mut DigestHasher) -> io::Result<Vec<ChunkDigest>> {
    let mut list = Vec::with_capacity(usize::try_from(size.div_ceil(CHUNK)).unwrap_or_default());
    let mut piece = vec![0; PIECE];
    let mut chunk = ChunkHasher::default();
    let mut offset = 0;
    while offset < size {
        let end = end_of(offset, size);
        while offset < end {
            let left = usize::try_from(end - offset).unwrap_or(PIECE);
            let room = piece.get_mut(..left.min(PIECE)).unwrap_or_default();
            file.read_exact_at(room, offset)?;
            hasher.update(room);
            chunk.update(room);
            offset += u64::try_from(room.len()).unwrap_or(u64::MAX);
        }
        list.push(chunk.finish());
    }
    Ok(list)
}
