//! Small objects: read into memory, verified, and only then passed on.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{
    cache::{Cache, Small},
    hash::Hasher,
    open::Opener,
};
use crate::{
    datapath::{RateFloor, SourceError, Tap as _, read_exact},
    digest::Digest,
    fetch::{
        exchange::{Ask, PeerError, Question, Upstream},
        peers::Candidates,
        settings::FetchSettings,
        want::Want,
    },
    http::{Kind, Method},
};

/// Size up to which an object counts as small, in bytes.
const SMALL: u64 = 4 << 20;
/// Bytes of small objects that are kept.
const KEPT: usize = 8 << 20;
/// What room for larger ones is counted in, in bytes.
const ROOM: u64 = 1 << 10;
/// Longest time for the bytes of an object: containerd gives a pull up that brings nothing for minutes.
const LONGEST: Duration = Duration::from_mins(2);
/// Bytes hashed at a time.
const PIECE: usize = 1 << 20;
/// Bytes of small objects that are read at once; further reads wait.
const READING: usize = 16 << 20;

/// Fetches small objects, and keeps them until containerd has stored them.
#[derive(Debug)]
pub(crate) struct Smalls {
    opener: Arc<Opener>,
    cache: Cache,
    reading: Semaphore,
    /// Larger ones that have to be verified before any of their bytes is passed on.
    large: Cache,
    /// Room for these, while they are read and kept.
    room: Arc<Semaphore>,
    /// That room in bytes.
    most: u64,
    /// Deadlines of a small object, besides the time for its bytes: for the exchange, and for room
    /// in memory.
    time: Duration,
    /// The least rate of a body.
    floor: RateFloor,
}

/// Why a small object was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// The peer failed; another one may succeed.
    Failed,
    /// No room: other reads use all of it.
    NoRoom,
}

/// Whether an object of `size` bytes counts as small.
pub(crate) fn fits(size: u64) -> bool {
    size <= SMALL
}

impl Smalls {
    /// Fetches from the peers that `opener` opens, as `settings` say.
    pub(crate) fn new(opener: Arc<Opener>, settings: &FetchSettings) -> Self {
        Self {
            opener,
            cache: Cache::new(KEPT),
            reading: Semaphore::new(READING),
            large: Cache::new(usize::MAX),
            room: Arc::new(Semaphore::new(
                usize::try_from(settings.verify_memory / ROOM).unwrap_or(usize::MAX >> 4),
            )),
            most: settings.verify_memory,
            time: settings.small,
            floor: settings.floor,
        }
    }

    /// One that was fetched just now.
    pub(crate) fn get(&self, want: &Want) -> Option<Small> {
        self.cache.get(want).or_else(|| self.large.get(want))
    }

    /// Whether one was fetched just now, under any name.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.cache.has(digest) || self.large.has(digest)
    }

    /// Whether an object of `size` bytes may be verified in memory.
    pub(super) fn has_room_for(&self, size: u64) -> bool {
        size <= SMALL.max(self.most)
    }

    /// Forgets what was kept long enough.
    pub(crate) fn tidy(&self) {
        self.cache.tidy();
        self.large.tidy();
    }

    /// Fetches a small object from the first candidate that has the right bytes of it, unless several
    /// take their time: the registry has it too.
    pub(crate) async fn fetch(&self, want: &Want, candidates: &mut Candidates) -> Option<Small> {
        let question = Question {
            crowd: candidates.is_crowd(),
            ..Question::plain(want, Ask::WHOLE, Method::Get)
        };
        let end = self.opener.deadline();
        loop {
            let upstream = self.opener.open(question, candidates).await?;
            match self.receive(want, upstream, candidates).await {
                Ok(small) => return Some(small),
                Err(Unread::Failed) if Instant::now() < end => {}
                Err(Unread::Failed | Unread::NoRoom) => return None,
            }
        }
    }

    /// Reads and verifies what a peer is about to send, which has to be the whole object.
    pub(super) async fn receive(
        &self,
        want: &Want,
        upstream: Upstream,
        candidates: &mut Candidates,
    ) -> Result<Small, Unread> {
        let (peer, total) = (upstream.peer(), upstream.body.total);
        if want.kind == Kind::Manifest && !fits(total) {
            candidates.failed(peer, PeerError::TooLong);
            return Err(Unread::Failed);
        }
        let room = if fits(total) {
            None
        } else {
            Some(self.room_for(total).await.ok_or(Unread::NoRoom)?)
        };
        let permits = u32::try_from(total.min(SMALL)).unwrap_or(u32::MAX);
        let reading = async {
            match room {
                Some(_) => None,
                None => self.reading.acquire_many(permits).await.ok(),
            }
        };
        let Ok(_reading) = timeout(self.time, reading).await else {
            return Err(Unread::NoRoom);
        };
        let read = match timeout(self.time_for(total), self.read(want, upstream)).await {
            Ok(read) => read,
            Err(_) => Err(PeerError::Body(SourceError::Stalled)),
        };
        match read {
            Ok(bytes) => {
                candidates.delivered(peer);
                let small = Small { bytes, room };
                let cache = match small.room {
                    None => &self.cache,
                    Some(_) => &self.large,
                };
                cache.put(want, &small);
                Ok(small)
            }
            Err(error) => {
                if error.is_expiry() {
                    candidates.expired(peer, error);
                } else {
                    candidates.failed(peer, error);
                }
                Err(Unread::Failed)
            }
        }
    }

    /// Room for an object that is not small. Who is kept only for later requests makes room first.
    async fn room_for(&self, size: u64) -> Option<Arc<OwnedSemaphorePermit>> {
        let permits = u32::try_from(size.div_ceil(ROOM)).ok()?;
        loop {
            if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(permits) {
                return Some(Arc::new(room));
            }
            if !self.large.forget_one() {
                break;
            }
        }
        let room = Arc::clone(&self.room).acquire_many_owned(permits);
        let room = timeout(self.time, room).await.ok()?.ok()?;
        Some(Arc::new(room))
    }

    async fn read(&self, want: &Want, mut upstream: Upstream) -> Result<Bytes, PeerError> {
        let total = match usize::try_from(upstream.body.total) {
            Ok(total) if self.has_room_for(upstream.body.total) => total,
            _ => return Err(PeerError::Contradiction("too long for what it is")),
        };
        let mut floor = upstream.floor();
        let link = &mut upstream.link;
        let mut bytes = vec![0; total];
        let here = link.inbox.take(upstream.body.total);
        let meter = link.meter().clone();
        let (head, rest) = bytes.split_at_mut(here.len().min(total));
        head.copy_from_slice(&here);
        meter.received_body(u64::try_from(here.len()).unwrap_or(u64::MAX));
        let mut hasher = Hasher::new(&want.digest);
        hasher.look(head);
        for piece in rest.chunks_mut(PIECE) {
            read_exact(&link.stream, piece, &mut floor, |count| {
                meter.received_body(count);
            })
            .await
            .map_err(PeerError::Body)?;
            hasher.look(piece);
        }
        if !hasher.matches() {
            return Err(PeerError::WrongBytes);
        }
        self.opener.done(upstream);
        Ok(bytes.into())
    }

    /// The deadline for an object of `bytes` bytes: containerd sees no byte before the last one has
    /// arrived. It takes four times the least rate: a manifest is there within seconds or comes
    /// from elsewhere, and a slow link has its time for megabytes.
    fn time_for(&self, bytes: u64) -> Duration {
        let RateFloor {
            bytes: least,
            window,
        } = self.floor;
        let millis = u128::from(bytes) * window.as_millis() / u128::from(least.max(1)) / 4;
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        let time = Duration::from_millis(millis).min(LONGEST);
        self.time.saturating_add(time)
    }
}
