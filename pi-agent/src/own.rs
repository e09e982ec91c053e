//! Replies with an object of this node's content store, to containerd and to peers alike.

use std::{io, time::Duration};

use daemon::{spell::Spell, tls::Socket};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::{
    chunks::{CHUNK, ChunkDigest, end_of, next_of, start_of},
    content::{
        Called, ChunkList, Content, Growing, Object, Recipient, Remote, Source,
        manifest::{MAX_MANIFEST, Manifest, ManifestError},
    },
    datapath::{
        Grown, Grows, Pace, Patience, Receiver, SendError, send_file, send_growing, write_all,
        write_judged,
    },
    digest::Digest,
    disk,
    http::{
        ByteRange, Connection, Framing, GROWING, Kind, LAST_CHUNK, MAKER_FIELD, Method, ObjectRef,
        REACHED_FIELD, Reply, Request, SILENT_FIELD, STATE_FIELD, Span, Unsatisfiable,
    },
};

/// Objects up to this size go out together with their head in one write.
const MAX_SINGLE_WRITE: u64 = 64 << 10;
/// As much of an object as mostly tells whether it can be a manifest.
const BEGINNING: u64 = 64;
/// The media type of a blob; clients ignore it.
const BLOB_TYPE: &str = "application/octet-stream";
/// How long the rest of what grows is waited for where only the whole tells what it is: who asks for something
/// little waits for two seconds.
const WHOLE: Duration = Duration::from_secs(1);
/// How long an upload of a growing object waits for its next byte.
const STANDSTILL: Duration = Duration::from_secs(10);

/// A reply that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The head, and with it the body where that is small.
    head: Vec<u8>,
    head_len: usize,
    rest: Option<(Source, Span)>,
    framing: Framing,
    /// Which chunks are sent, where the digest of each goes before its bytes.
    every: Option<u64>,
    /// Their digests, where the object is complete.
    chunks: Option<ChunkList>,
}

/// A growing blob, as every so manieth of its chunks is sent to a client that checks them.
struct Labelled<'a> {
    growing: &'a Growing,
    every: u64,
}

/// A complete blob, as its chunks are sent to a client that checks them.
struct Listed<'a> {
    chunks: &'a [ChunkDigest],
    size: u64,
}

/// What grows, to a client that verifies the whole before it uses any of it.
struct Plain<'a>(&'a Growing);

/// Why an object is no answer to a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// It was requested as a manifest and is none.
    #[error("the object is no manifest")]
    NotManifest(#[source] ManifestError),
    /// It was requested as a manifest and is too long for one.
    #[error("an object of {0} bytes is no manifest")]
    TooLong(u64),
    /// It has no such part.
    #[error("an object of {0} bytes has no such part")]
    Range(u64, #[source] Unsatisfiable),
    /// Its file could not be read.
    #[error("the object could not be read")]
    Read(#[source] io::Error),
}

/// How far a reply got.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Bytes of the head.
    pub(crate) head: usize,
    /// Bytes of the body.
    pub(crate) body: u64,
    /// Whether it was sent to its end.
    pub(crate) result: Result<(), SendError>,
}

/// The part of an object that a request is for, and whether it is named as a part.
pub(crate) fn part(request: &Request, size: u64) -> Result<(Span, bool), Unfit> {
    match request.range {
        None => Ok((Span::whole(size), false)),
        Some(range) => match range.resolve(size) {
            Ok(span) => Ok((span, true)),
            Err(error) => Err(Unfit::Range(size, error)),
        },
    }
}

/// Opens an object of this node. A damaged one counts as missing, and so does an unreadable one, which is
/// logged by `unreadable`.
pub(crate) async fn open(content: &Content, digest: &Digest, unreadable: &Spell) -> Option<Object> {
    match content.open(digest).await {
        Ok(found) => {
            unreadable.is_well();
            content.proved(found?).await
        }
        Err(error) => {
            unreadable.happened(|times| {
                let error = daemon::telemetry::chain(&error);
                warn!(%error, times, "own content is not readable");
            });
            None
        }
    }
}

/// Whether an object of this node may be given to `recipient` under the name of the request. Manifests belong to
/// repositories; blobs are the same in all of them, and who asks for one knows a manifest that names it. Of what
/// is private neither is given to whom the registry would not.
pub(crate) async fn is_named(
    content: &Content,
    asked: &ObjectRef,
    found: &Object,
    recipient: Recipient,
) -> bool {
    let is_manifest = is_manifest(content, asked.kind, found).await;
    let called = Called::from(asked);
    let digest = &found.digest;
    if let Source::Growing(growing) = &found.source
        && content.has_private()
    {
        return !is_manifest && content.is_open_growth(growing, called);
    }
    if !is_manifest {
        return recipient == Recipient::Containerd || content.is_open_blob(digest, called).await;
    }
    let is_named = !asked.is_named_by_digest() || content.is_named(digest, called, recipient).await;
    let is_open = match recipient {
        Recipient::Containerd => !content.is_private(called),
        Recipient::Peer => is_named && content.is_open_manifest(digest, called).await,
    };
    is_named && is_open
}

/// Whether an object of this node is a manifest. What a name does not tell, and an image of this node, its bytes
/// do where that matters.
pub(crate) async fn is_manifest(content: &Content, asked: Kind, found: &Object) -> bool {
    asked == Kind::Manifest
        || found.media_type.is_some()
        || content.is_manifest(&found.digest)
        || (content.has_private() && looks_like_manifest(found).await)
}

/// Whether an object that is not known for a manifest may be one.
async fn looks_like_manifest(object: &Object) -> bool {
    let there = match &object.source {
        Source::Growing(growing) => growing.reached().bytes,
        Source::File(_) | Source::Remote(_) => object.size,
    };
    if object.size > MAX_MANIFEST {
        return false;
    }
    let mut bytes = Vec::new();
    let beginning = Span::whole(there.min(BEGINNING));
    if there > 0
        && read_into(&mut bytes, &object.source, beginning)
            .await
            .is_err()
    {
        return true;
    }
    let begins_so = |bytes: &[u8]| matches!(bytes.trim_ascii_start().first(), Some(b'{') | None);
    if there == 0 || !begins_so(&bytes) {
        return false;
    }
    // So do configs.
    if let Source::Growing(growing) = &object.source
        && !becomes_whole(growing).await
    {
        return true;
    }
    let sniffed = sniff(&object.source, object.size).await;
    !matches!(sniffed, Err(Unfit::NotManifest(_)))
}

/// Waits a moment for the rest of what grows.
async fn becomes_whole(growing: &Growing) -> bool {
    let last = growing.total().saturating_sub(1);
    let reached = timeout(WHOLE, growing.beyond(last)).await;
    reached.is_ok_and(|reached| reached.bytes > last)
}

/// Adds what every reply with an object has to its head.
pub(crate) fn describe(reply: Reply, digest: &Digest, media_type: Option<&str>) -> Reply {
    reply
        .field("Content-Type", media_type.unwrap_or(BLOB_TYPE))
        .field("Docker-Content-Digest", digest)
        .field("ETag", format_args!("\"{digest}\""))
}

/// Makes the reply to a request for `object`, with the end of its body told by `framing`.
pub(crate) async fn prepare(
    object: Object,
    kind: Kind,
    request: &Request,
    framing: Framing,
    connection: Connection,
) -> Result<Prepared, Unfit> {
    let (span, partial) = part(request, object.size)?;
    let media_type = match kind {
        Kind::Blob => object.media_type.clone(),
        Kind::Manifest => match &object.media_type {
            Some(media_type) => Some(media_type.clone()),
            None => Some(sniff(&object.source, object.size).await?),
        },
    };
    let every = labelled(&object, request);
    let span = if every.is_some() {
        Span::new(start_of(span.start()), span.end())
    } else {
        span
    };
    let reply = if let Some(every) = every {
        Reply::labelled(span, object.size, every)
    } else {
        match framing {
            Framing::Length => Reply::object(span, object.size, partial),
            Framing::OneChunk => Reply::stream(span, object.size),
        }
    };
    let mut reply = describe(reply, &object.digest, media_type.as_deref());
    let is_growing = match &object.source {
        Source::Growing(growing) => {
            let reached = growing.reached();
            reply = reply
                .field(STATE_FIELD, GROWING)
                .field(REACHED_FIELD, reached.bytes)
                .field(SILENT_FIELD, reached.at.elapsed().as_millis());
            if let Some(maker) = growing.maker() {
                reply = reply.field(MAKER_FIELD, maker);
            }
            true
        }
        Source::File(_) | Source::Remote(_) => false,
    };
    let mut head = reply.end(connection);
    let head_len = head.len();
    let mut rest = None;
    if request.method == Method::Get {
        if span.len() <= MAX_SINGLE_WRITE && !is_growing && every.is_none() {
            let read = read_into(&mut head, &object.source, span).await;
            read.map_err(Unfit::Read)?;
        } else {
            rest = Some((object.source, span));
        }
    }
    Ok(Prepared {
        head,
        head_len,
        rest,
        framing,
        every,
        chunks: object.chunks,
    })
}

/// Which chunks go with their digests: those that the client wants of a growing blob, or all of a
/// complete one, from some byte on to its end. `None` where the client does not ask for digests, or gets
/// the bytes as they are.
fn labelled(object: &Object, request: &Request) -> Option<u64> {
    let to_the_end = matches!(request.range, None | Some(ByteRange::From(_)));
    if !request.chunks || !to_the_end {
        return None;
    }
    match &object.source {
        Source::Growing(_) => Some(request.every),
        // Who has it all sends it all.
        Source::File(_) => (request.complete && object.chunks.is_some()).then_some(1),
        Source::Remote(_) => None,
    }
}

impl Prepared {
    /// Whether the body goes on long enough to take an upload slot.
    pub(crate) fn is_long(&self) -> bool {
        self.rest.is_some()
    }

    /// Bytes of the body beyond what is sent together with the head, as far as they are certain to
    /// be sent.
    pub(crate) fn certain(&self) -> u64 {
        match &self.rest {
            Some((Source::File(_) | Source::Remote(_), span)) if self.every.is_none() => span.len(),
            Some(_) | None => 0,
        }
    }

    /// Sends it. `moved` is told of the body's bytes as they go.
    pub(crate) async fn send(
        &self,
        socket: &Socket,
        pace: &Pace,
        receiver: Receiver,
        mut moved: impl FnMut(u64),
    ) -> Sent {
        let small = u64::try_from(self.head.len() - self.head_len).unwrap_or(u64::MAX);
        let mut sent = Sent {
            head: self.head_len,
            body: 0,
            result: Ok(()),
        };
        if let Err(error) = write_all(socket, &self.head, Patience(receiver.patience)).await {
            sent.result = Err(SendError::Io(error));
            return sent;
        }
        sent.body = small;
        moved(small);
        let count = |bytes| {
            sent.body += bytes;
            moved(bytes);
        };
        match &self.rest {
            Some((Source::File(file), span)) => {
                sent.result = match (&self.chunks, self.every) {
                    (Some(chunks), Some(_)) => {
                        let size = span.end();
                        let listed = &Listed { chunks, size };
                        send_growing(socket, file, *span, pace, receiver, listed, count).await
                    }
                    _ => send_file(socket, file, *span, pace, receiver, count).await,
                };
            }
            Some((Source::Remote(remote), span)) => {
                sent.result = send_remote(socket, remote, *span, pace, receiver, count).await;
            }
            Some((Source::Growing(growing), span)) => {
                let (data, growing) = (growing.data(), growing.as_ref());
                sent.result = if let Some(every) = self.every {
                    let growing = &Labelled { growing, every };
                    send_growing(socket, data, *span, pace, receiver, growing, count).await
                } else {
                    let growing = &Plain(growing);
                    send_growing(socket, data, *span, pace, receiver, growing, count).await
                };
            }
            None => {}
        }
        if sent.result.is_ok() && self.framing == Framing::OneChunk {
            let written = write_all(socket, LAST_CHUNK, Patience(receiver.patience)).await;
            sent.result = written.map_err(SendError::Io);
        }
        sent
    }
}

impl Grows for Labelled<'_> {
    async fn next(&self, offset: u64) -> Option<Grown> {
        let mut chunk = std::pin::pin!(self.growing.chunk(offset));
        loop {
            if let Ok(chunk) = timeout(STANDSTILL, chunk.as_mut()).await {
                let (end, digest) = chunk?;
                let label = Some(digest.label());
                let next = next_of(end, self.every);
                return Some(Grown { label, end, next });
            }
            // A chunk that comes slowly comes.
            if self.growing.reached().at.elapsed() >= STANDSTILL {
                return None;
            }
        }
    }
}

impl Grows for Listed<'_> {
    async fn next(&self, offset: u64) -> Option<Grown> {
        let number = usize::try_from(offset / CHUNK).ok()?;
        let end = end_of(offset, self.size);
        Some(Grown {
            label: Some(self.chunks.get(number)?.label()),
            end,
            next: end,
        })
    }
}

impl Grows for Plain<'_> {
    async fn next(&self, offset: u64) -> Option<Grown> {
        let reached = timeout(STANDSTILL, self.0.beyond(offset)).await.ok()?;
        (!reached.withdrawn).then_some(Grown {
            label: None,
            end: reached.bytes,
            next: reached.bytes,
        })
    }
}

/// Reads the media type of a manifest out of itself.
async fn sniff(source: &Source, size: u64) -> Result<String, Unfit> {
    if size > MAX_MANIFEST {
        return Err(Unfit::TooLong(size));
    }
    let mut bytes = Vec::new();
    let read = read_into(&mut bytes, source, Span::whole(size)).await;
    read.map_err(Unfit::Read)?;
    let manifest = Manifest::parse(&bytes).map_err(Unfit::NotManifest)?;
    Ok(manifest.media_type("").to_owned())
}

/// Passes a part of an object on as containerd hands it over.
async fn send_remote(
    socket: &Socket,
    remote: &Remote,
    span: Span,
    pace: &Pace,
    receiver: Receiver,
    mut sent: impl FnMut(u64),
) -> Result<(), SendError> {
    let mut judge = receiver.judge();
    let failed = |error| SendError::Io(io::Error::other(error));
    let mut chunks = remote.read(span).await.map_err(failed)?;
    let mut left = span.len();
    loop {
        let since = Instant::now();
        let Some(chunk) = chunks.next().await.map_err(failed)? else {
            break;
        };
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        pace.take(length).await;
        judge.pause(since.elapsed());
        let written = write_judged(socket, &chunk, &mut judge).await;
        written.map_err(SendError::Io)?;
        sent(length);
        left = left.saturating_sub(length);
    }
    match left {
        0 => Ok(()),
        _ => Err(SendError::Short),
    }
}

async fn read_into(bytes: &mut Vec<u8>, source: &Source, span: Span) -> io::Result<()> {
    let file = match source {
        Source::File(file) => file,
        Source::Remote(remote) => {
            let read = remote.read_into(bytes, span).await;
            return read.map_err(io::Error::other);
        }
        Source::Growing(growing) => growing.data(),
    };
    let length = usize::try_from(span.len()).unwrap_or(usize::MAX);
    let before = bytes.len();
    bytes.resize(before.saturating_add(length), 0);
    let room = bytes.get_mut(before..).unwrap_or_default();
    disk::read_exact_at(file, room, span.start()).await
}
