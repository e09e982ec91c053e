//! Moves what comes with the digests of its chunks: chunk by chunk, and none of its bytes before the
//! whole chunk has the digest that stands before it.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::counter;
use tokio::time::Instant;

use super::{
    blame::Senders,
    count::CHECKED,
    ending::Ending,
    open::Opener,
    ordered::{Ordered, Outlet},
    room::{Room, SIZE},
    silence::Silence,
};
use crate::{
    chunks::{CHUNK, ChunkDigest, ChunkHasher, LABEL, end_of, next_of, start_of},
    content::{Growing, Noted},
    datapath::{Floor, SourceError, Tap as _, fill},
    fetch::{
        exchange::{PeerError, Upstream},
        want::Want,
    },
};

/// A chunk while it comes. It outlasts a silence of the peer.
#[derive(Debug, Default)]
struct Frame {
    label: [u8; LABEL],
    labelled: usize,
    room: Option<Room>,
    filled: usize,
    hasher: ChunkHasher,
}

/// Where the chunks of a blob go, and what is known of it.
pub(super) struct Way<'a, F> {
    pub(super) order: Ordered<'a, F>,
    /// The blob on this node, which has its chunk list, where it is followed.
    pub(super) growing: Option<&'a Growing>,
    /// Size of the blob.
    pub(super) total: u64,
    /// Who answers for its bytes.
    pub(super) senders: &'a Senders,
    /// Counts bytes as they come, in which the client has none of them yet.
    pub(super) came: &'a AtomicU64,
}

/// Moves the chunks that one peer sends to one client: all, or those of a stripe.
pub(super) struct Checked<'a, 'b, F> {
    way: &'b Way<'a, F>,
    /// Who asks a silent peer whether it lives, and for what.
    asker: (&'b Opener, &'b Want),
    silence: Silence,
    frame: Frame,
}

impl<'a, 'b, F: FnMut(u64) + Send> Checked<'a, 'b, F> {
    pub(super) fn new(way: &'b Way<'a, F>, asker: (&'b Opener, &'b Want)) -> Self {
        Self {
            way,
            asker,
            silence: Silence::default(),
            frame: Frame::default(),
        }
    }

    /// Passes on what the upstream sends, each chunk when it is next. When it ends no chunk is on its
    /// way to the client, so that the others may be stopped at once.
    pub(super) async fn run(mut self, upstream: &mut Upstream) -> Ending {
        let mut floor = upstream.floor();
        while upstream.next < self.way.total {
            let (start, end) = (upstream.next, end_of(upstream.next, self.way.total));
            if let Err(error) = self.receive(upstream, end - start, &mut floor).await {
                let (peer, silence) = (upstream.peer(), &mut self.silence);
                if upstream.growing && silence.is_worth_waiting_for(&error, peer, self.asker).await
                {
                    floor = upstream.floor();
                    continue;
                }
                self.way.order.settled().await;
                return Ending::Failed(peer, PeerError::Body(error));
            }
            let digest = match self.digest(start) {
                Ok(digest) => digest,
                Err(error) => {
                    self.way.order.settled().await;
                    return Ending::Misfit(upstream.peer(), error);
                }
            };
            let since = Instant::now();
            if let Some(ending) = self.pass(upstream, (start, end), digest).await {
                return ending;
            }
            floor.pause(since.elapsed());
            self.silence.ends();
            self.frame = Frame::default();
            upstream.next = next_of(end, upstream.every);
        }
        Ending::Complete
    }

    /// Passes the chunk on when it is next. Gives how all ends by that, if it does.
    async fn pass(
        &mut self,
        upstream: &Upstream,
        (start, end): (u64, u64),
        digest: ChunkDigest,
    ) -> Option<Ending> {
        let (skip, mut outlet) = self.way.order.turn(start).await;
        let noted = (self.way.growing).map(|growing| growing.note(start_of(start), digest));
        if noted == Some(Noted::Differs) {
            return Some(Ending::Misfit(upstream.peer(), PeerError::OtherList(start)));
        }
        if upstream.growing {
            // Who passed on chunks that fit their digests is not to blame for what these say.
            let maker = upstream.chunks.unwrap_or(upstream.peer());
            self.way.senders.add_maker(maker);
        } else {
            self.way.senders.add(upstream.peer());
        }
        if !self.is_right(&mut outlet, end, skip) {
            return Some(Ending::Wrong);
        }
        let rest = self.frame.rest(skip);
        let written = self.way.order.write(&mut outlet, rest, end).await;
        written.err().map(Ending::Gone)
    }

    /// Resumes reading a chunk of `size` bytes.
    async fn receive(
        &mut self,
        upstream: &mut Upstream,
        size: u64,
        floor: &mut Floor,
    ) -> Result<(), SourceError> {
        let start = upstream.next;
        let link = &mut upstream.link;
        let meter = link.meter().clone();
        let way = self.way;
        let came = |bytes: usize| {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            meter.received_body(bytes);
            way.came.fetch_add(bytes, Ordering::Relaxed);
        };
        let Frame {
            label,
            labelled,
            room,
            filled,
            hasher,
        } = &mut self.frame;
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
        if room.is_none() {
            let since = Instant::now();
            *room = way.order.room(start).await;
            floor.pause(since.elapsed());
        }
        let room = room.as_mut().map(|room| room.bytes.as_mut_slice());
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

    /// The digest of the chunk that begins at `start`, if it is the one that stood before it.
    fn digest(&mut self, start: u64) -> Result<ChunkDigest, PeerError> {
        counter!(CHECKED.name).increment(1);
        let digest = self.frame.hasher.finish();
        if digest == ChunkDigest::from_label(self.frame.label) {
            Ok(digest)
        } else {
            Err(PeerError::WrongChunk(start))
        }
    }

    /// Whether the object is right, where it is hashed on its way and ends with this chunk.
    fn is_right(&self, outlet: &mut Outlet<'a, F>, end: u64, skip: u64) -> bool {
        let Some(hasher) = &mut *outlet.pump.hasher else {
            return true;
        };
        hasher.look(self.frame.rest(skip));
        if end < self.way.total {
            return true;
        }
        let hasher = outlet.pump.hasher.take();
        hasher.is_none_or(super::hash::Hasher::matches)
    }
}

impl Frame {
    /// The chunk's bytes but for the first `skip`.
    fn rest(&self, skip: u64) -> &[u8] {
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let bytes = self.room.as_ref().map(|room| &room.bytes);
        bytes
            .and_then(|bytes| bytes.get(skip..self.filled))
            .unwrap_or_default()
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
