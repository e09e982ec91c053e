//! Moves what a peer is still getting itself: chunk by chunk, and none of its bytes before the whole
//! chunk has the digest that stands before it.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::counter;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::{
    count::CHECKED,
    pump::{Pump, Pumped, Wrong},
};
use crate::{
    chunks::{CHUNK, ChunkDigest, ChunkHasher, LABEL, end_of, start_of},
    content::{Growing, Noted},
    datapath::{End, Floor, SourceError, Tap as _, fill, write_all},
    fetch::exchange::{PeerError, Upstream},
};

/// Chunks that are in memory at the same time. A peer sends a chunk once it has it whole, so that one
/// takes no longer than its bytes do; further ones wait in the sockets.
static ROOM: Semaphore = Semaphore::const_new(16);
/// Buffers that are kept for the next chunks.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
const SPARES: usize = 4;
/// [`CHUNK`] as the size of a buffer.
const SIZE: usize = 1 << 20;

/// A chunk while it comes. It outlasts a silence of the peer.
#[derive(Debug, Default)]
pub(super) struct Frame {
    label: [u8; LABEL],
    labelled: usize,
    buffer: Option<Buffer>,
    filled: usize,
    hasher: ChunkHasher,
}

/// Room for a chunk.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    _room: SemaphorePermit<'static>,
}

/// Moves the chunks of one peer to one client.
pub(super) struct Checked<'a, F> {
    pub(super) pump: Pump<'a, F>,
    /// The blob on this node, which has its chunk list.
    pub(super) growing: &'a Growing,
    pub(super) frame: &'a mut Frame,
    /// Counts bytes as they come, in which the client has none of them yet.
    pub(super) came: &'a AtomicU64,
}

impl<F: FnMut(u64) + Send> Checked<'_, F> {
    /// Passes on what the upstream sends, from the byte at `at` on.
    pub(super) async fn run(mut self, upstream: &mut Upstream, at: u64) -> Pumped {
        let mut floor = upstream.floor();
        let mut moved = 0;
        while upstream.next < upstream.body.span.end() {
            let start = upstream.next;
            let end = end_of(start, self.pump.total);
            if let Err(error) = self.receive(upstream, end - start, &mut floor).await {
                return Pumped::end(moved, End::Source(error));
            }
            if let Err(error) = self.check(start) {
                *self.frame = Frame::default();
                return Pumped::wrong(moved, Wrong::Chunk(error));
            }
            let skip = at.saturating_sub(start).min(end - start);
            if !self.is_right(end, skip) {
                return Pumped::wrong(moved, Wrong::Object);
            }
            let since = Instant::now();
            let written = write_all(self.pump.client, self.frame.rest(skip), self.pump.patience);
            if let Err(error) = written.await {
                return Pumped::end(moved, End::Sink(error));
            }
            floor.pause(since.elapsed());
            *self.frame = Frame::default();
            upstream.next = end;
            let passed = end - start - skip;
            (self.pump.moved)(passed);
            moved += passed;
        }
        Pumped::end(moved, End::Complete)
    }

    /// Resumes reading a chunk of `size` bytes.
    async fn receive(
        &mut self,
        upstream: &mut Upstream,
        size: u64,
        floor: &mut Floor,
    ) -> Result<(), SourceError> {
        let link = &mut upstream.link;
        let meter = link.meter().clone();
        let came = |bytes: usize| {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            meter.received_body(bytes);
            self.came.fetch_add(bytes, Ordering::Relaxed);
        };
        let Frame {
            label,
            labelled,
            buffer,
            filled,
            hasher,
        } = &mut *self.frame;
        put(
            label,
            labelled,
            &link.inbox.take(left(LABEL, *labelled)),
            came,
        );
        fill(&link.stream, label, labelled, floor, |bytes| {
            came(bytes.len());
        })
        .await?;
        if buffer.is_none() {
            let since = Instant::now();
            *buffer = Buffer::new().await;
            floor.pause(since.elapsed());
        }
        let room = buffer.as_mut().map(|buffer| buffer.bytes.as_mut_slice());
        let size = usize::try_from(size).unwrap_or(SIZE).min(SIZE);
        let room = room.and_then(|room| room.get_mut(..size));
        // The semaphore is never closed.
        let room = room.ok_or(SourceError::Ended)?;
        let here = link.inbox.take(left(size, *filled));
        hasher.update(&here);
        put(room, filled, &here, came);
        fill(&link.stream, room, filled, floor, |bytes| {
            hasher.update(bytes);
            came(bytes.len());
        })
        .await
    }

    /// Whether the chunk that begins at `start` has its digest, and the digest is that of the list.
    fn check(&mut self, start: u64) -> Result<(), PeerError> {
        counter!(CHECKED.name).increment(1);
        let digest = self.frame.hasher.finish();
        if digest != ChunkDigest::from_label(self.frame.label) {
            return Err(PeerError::WrongChunk(start));
        }
        match self.growing.note(start_of(start), digest) {
            Noted::Fits => Ok(()),
            Noted::Differs => Err(PeerError::OtherList(start)),
        }
    }

    /// Whether the object is right, where it is hashed on its way and ends with this chunk.
    fn is_right(&mut self, end: u64, skip: u64) -> bool {
        let Some(hasher) = &mut *self.pump.hasher else {
            return true;
        };
        hasher.look(self.frame.rest(skip));
        if end < self.pump.total {
            return true;
        }
        let hasher = self.pump.hasher.take();
        hasher.is_none_or(super::hash::Hasher::matches)
    }
}

impl Frame {
    /// The chunk's bytes but for the first `skip`.
    fn rest(&self, skip: u64) -> &[u8] {
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let bytes = self.buffer.as_ref().map(|buffer| &buffer.bytes);
        bytes
            .and_then(|bytes| bytes.get(skip..self.filled))
            .unwrap_or_default()
    }
}

impl Buffer {
    /// A buffer, once there is room for it.
    async fn new() -> Option<Self> {
        let room = ROOM.acquire().await.ok()?;
        let spare = SPARE.lock().pop();
        Some(Self {
            bytes: spare.unwrap_or_else(|| vec![0; SIZE]),
            _room: room,
        })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = SPARE.lock();
        if spare.len() < SPARES {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// How many of `whole` bytes are missing.
fn left(whole: usize, filled: usize) -> u64 {
    u64::try_from(whole.saturating_sub(filled)).unwrap_or(CHUNK)
}

/// Puts bytes that were read already behind those that are there.
fn put(room: &mut [u8], filled: &mut usize, bytes: &[u8], came: impl Fn(usize)) {
    if bytes.is_empty() {
        return;
    }
    let end = *filled + bytes.len();
    if let Some(place) = room.get_mut(*filled..end) {
        place.copy_from_slice(bytes);
    }
    *filled = end;
    came(bytes.len());
}
