//! The exchange with one peer: one request, up to the end of its reply's head.

mod accept;
mod error;
mod link;
mod pool;

pub(super) use self::{accept::Ask, error::PeerError, link::Link};

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    time::Duration,
};

use piccolo_api::Holder;
use tokio::time::{Instant, timeout};

use self::{
    accept::{Body, accept},
    link::Dialler,
    pool::Pool,
};
use super::{settings::FetchSettings, want::Want};
use crate::{
    datapath::{Floor, Patience, RateFloor, read_exact, write_all},
    here::Here,
    http::{
        AGENT_FIELD, CHUNKS, CHUNKS_FIELD, COMPLETE, MIRRORED_FIELD, Method, Response,
        STRIPES_FIELD, encode_query,
    },
    sockets::PeerSockets,
};

/// Longest body of an error that is drained to keep the connection.
const MAX_ERROR_BODY: u64 = 4 << 10;
/// Silence after which a growing source is probed.
const SILENCE: RateFloor = RateFloor {
    bytes: 1,
    window: Duration::from_millis(800),
};
/// Between two such questions before the first byte, and how long the answer may take.
pub(super) const PROBE: Duration = Duration::from_millis(500);

/// Asks peers, on connections that it keeps.
#[derive(Debug)]
pub(super) struct Exchanges {
    /// This node, as peers know it.
    here: Here,
    dialler: Dialler,
    first_byte: Duration,
    floor: RateFloor,
    pool: Pool,
}

/// What a peer is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) want: &'a Want,
    pub(super) ask: Ask,
    pub(super) method: Method,
    /// Whether the peer may still be getting the object, and so answers later.
    pub(super) crowd: bool,
    /// Whether what grows is to come with the digests of its chunks.
    pub(super) chunks: bool,
    /// Whether a complete one is to come so as well.
    pub(super) complete: bool,
    /// Of how many stripes of a growing object one is asked for: every so manieth chunk, from the first
    /// byte on that is asked for.
    pub(super) every: u64,
}

/// A peer that is about to send a body.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) link: Link,
    /// The body that it sends.
    pub(super) body: Body,
    /// Offset of the next byte to receive.
    pub(super) next: u64,
    /// Whether the peer is still getting the object itself, and so may have to wait.
    pub(super) growing: bool,
    /// The maker of the chunk list; `None` where the chunks come without digests.
    pub(super) chunks: Option<Holder>,
    /// Every so manieth chunk is sent.
    pub(super) every: u64,
    /// Bytes of the object that the peer has.
    pub(super) reached: u64,
    /// The least rate at which it has to send.
    least: RateFloor,
    /// Whether the connection outlives the body.
    keep_alive: bool,
}

impl Exchanges {
    /// Asks peers as `settings` say, and counts every byte in `sockets`.
    pub(super) fn new(sockets: PeerSockets, settings: &FetchSettings) -> Self {
        Self {
            here: settings.here.clone(),
            dialler: Dialler {
                sockets,
                agents: settings.agents.clone(),
                dial: settings.dial,
                handshake: settings.first_byte,
            },
            first_byte: settings.first_byte,
            floor: settings.floor,
            pool: Pool::default(),
        }
    }

    /// Asks `holder` for a part of an object and judges its head.
    pub(super) async fn ask(
        &self,
        question: Question<'_>,
        holder: Holder,
    ) -> Result<Upstream, PeerError> {
        let request = question.head(holder, self.here.get());
        let pooled = self.pool.take(holder);
        if let Some(link) = pooled.filter(|link| self.dialler.may_use(link)) {
            match self.converse(question, link, &request).await {
                // The peer closed it at the moment it was taken. A new one tells what is the matter.
                Err(error) if error.is_stale() || error.is_expiry() => {}
                result => return result,
            }
        }
        match self.ask_anew(question, holder, &request).await {
            // By another certificate, if there is one by now.
            Err(PeerError::Unwelcome(error)) if error.is_expiry() => {
                self.ask_anew(question, holder, &request).await
            }
            result => result,
        }
    }

    /// Asks on a new connection.
    async fn ask_anew(
        &self,
        question: Question<'_>,
        holder: Holder,
        request: &[u8],
    ) -> Result<Upstream, PeerError> {
        let link = self.dialler.dial(holder).await?;
        let is_plain = link.stream.as_plain().is_some();
        match self.converse(question, link, request).await {
            Err(error) if !is_plain => Err(error.on_new()),
            Err(error) if error.is_stale() => {
                self.dialler.agents.doubt_plain(holder.ip());
                Err(error)
            }
            result => result,
        }
    }

    /// Asks whether a peer that says nothing is still getting the object, and gives how many bytes of
    /// it that has.
    pub(super) async fn reached(
        &self,
        want: &Want,
        holder: Holder,
        within: Duration,
    ) -> Option<u64> {
        let question = Question::plain(want, Ask::WHOLE, Method::Head);
        let asked = timeout(within, self.ask(question, holder)).await;
        let upstream = asked.ok()?.ok()?;
        let reached = upstream.reached;
        self.done(upstream);
        Some(reached)
    }

    /// Ends when a peer that was asked for its first byte does not live any more. `silent` is how often it
    /// has not answered since it last did.
    pub(super) async fn death(&self, question: Question<'_>, holder: Holder, silent: &AtomicU8) {
        while silent.load(Relaxed) < 2 {
            tokio::time::sleep(PROBE).await;
            if self.reached(question.want, holder, PROBE).await.is_some() {
                silent.store(0, Relaxed);
            } else {
                silent.fetch_add(1, Relaxed);
            }
        }
    }

    /// The body of `upstream` was read to its end.
    pub(super) fn done(&self, upstream: Upstream) {
        if upstream.keep_alive {
            self.pool.put(upstream.link);
        }
    }

    /// Closes connections that were not used for a while.
    pub(super) fn tidy(&self) {
        self.pool.tidy();
    }

    /// Closes idle connections.
    pub(super) fn renew(&self) {
        self.pool.clear();
    }

    /// Asks on a connection that is there.
    async fn converse(
        &self,
        question: Question<'_>,
        mut link: Link,
        request: &[u8],
    ) -> Result<Upstream, PeerError> {
        write_all(&link.stream, request, Patience(self.first_byte))
            .await
            .map_err(PeerError::Request)?;
        link.meter().sent_head(request.len());
        // How long one that is still getting the object may take is up to who asks.
        let patience = if question.crowd {
            Duration::MAX
        } else {
            self.first_byte
        };
        let response = self.read_head(&mut link, patience).await?;
        match accept(&response, &question) {
            Ok(body) => Ok(Upstream {
                next: body.span.start(),
                body,
                chunks: response
                    .chunks
                    .then(|| response.maker.unwrap_or(link.holder)),
                every: if response.chunks { response.every } else { 1 },
                reached: response.reached.unwrap_or(body.total),
                growing: response.growing,
                least: if response.growing {
                    SILENCE
                } else {
                    self.floor
                },
                keep_alive: response.keep_alive,
                link,
            }),
            Err(error) => {
                let is_get = question.method == Method::Get;
                if is_get && response.keep_alive && response.ends_by_length() {
                    self.reuse(link, response.length).await;
                }
                Err(error)
            }
        }
    }

    async fn read_head(&self, link: &mut Link, patience: Duration) -> Result<Response, PeerError> {
        let head = link.inbox.head(&link.stream, Response::parse);
        match timeout(patience, head).await {
            Ok(Ok((response, length))) => {
                link.meter().received_head(length);
                Ok(response)
            }
            Ok(Err(error)) => {
                link.meter().received_head(link.inbox.len());
                Err(PeerError::Head(error))
            }
            Err(_) => Err(PeerError::HeadDeadline),
        }
    }

    /// Reads the short body of an error, after which the connection can be used again.
    async fn reuse(&self, mut link: Link, length: Option<u64>) {
        let Some(length) = length.filter(|l| *l <= MAX_ERROR_BODY) else {
            return;
        };
        let here = link.inbox.take(length).len();
        let rest = usize::try_from(length).unwrap_or(0).saturating_sub(here);
        let mut room = vec![0; rest];
        let mut floor = Floor::new(self.floor, Instant::now());
        if read_exact(&link.stream, &mut room, &mut floor, |_| {})
            .await
            .is_ok()
        {
            link.meter().received_head(here + rest);
            self.pool.put(link);
        }
    }
}

impl<'a> Question<'a> {
    /// Of who has all of the object, for its bytes as they are.
    pub(super) fn plain(want: &'a Want, ask: Ask, method: Method) -> Self {
        Self {
            want,
            ask,
            method,
            crowd: false,
            chunks: false,
            complete: false,
            every: 1,
        }
    }

    /// The request to `holder`, from the node that peers know as `own`.
    fn head(&self, holder: Holder, own: Option<Holder>) -> Vec<u8> {
        let Self {
            want,
            ask,
            method,
            chunks,
            complete,
            every,
            ..
        } = self;
        let method = match method {
            Method::Head => "HEAD",
            Method::Get | Method::Other => "GET",
        };
        let (repository, segment, digest) = (&want.repository, want.kind.segment(), &want.digest);
        let mut head = format!("{method} /v2/{repository}/{segment}/{digest}");
        // Writing to a String cannot fail, here and below.
        if let Some(registry) = &want.registry {
            let _ = write!(head, "?ns={}", encode_query(registry));
        }
        let _ = write!(
            head,
            " HTTP/1.1\r\nHost: {holder}\r\n{MIRRORED_FIELD}: true\r\nUser-Agent: pi-agent/{}\r\n",
            env!("CARGO_PKG_VERSION")
        );
        if let Some(own) = own {
            let _ = write!(head, "{AGENT_FIELD}: {own}\r\n");
        }
        if *chunks {
            let _ = write!(head, "{CHUNKS_FIELD}: {CHUNKS}");
            if *complete {
                let _ = write!(head, ", {COMPLETE}");
            }
            head.push_str("\r\n");
            if *every > 1 {
                let _ = write!(head, "{STRIPES_FIELD}: {every}\r\n");
            }
        }
        match (ask.start, ask.end) {
            (0, None) => {}
            (start, None) => {
                let _ = write!(head, "Range: bytes={start}-\r\n");
            }
            (start, Some(end)) => {
                let _ = write!(head, "Range: bytes={start}-{}\r\n", end.saturating_sub(1));
            }
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

impl Upstream {
    /// The peer.
    pub(super) fn peer(&self) -> Holder {
        self.link.holder
    }

    /// Begins to judge the peer by how the body comes.
    pub(super) fn floor(&self) -> Floor {
        Floor::new(self.least, Instant::now())
    }
}
