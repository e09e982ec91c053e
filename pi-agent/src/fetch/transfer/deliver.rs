//! Large objects: from peers to containerd, one peer after the other at the same byte.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use piccolo_api::Holder;
use tokio::{net::TcpStream, time::timeout};
use tracing::{Span as LogSpan, debug};

use super::{
    blame::{Senders, await_verdict, blame},
    hash::Hasher,
    open::{failed, open},
    parts::Parts,
};
use crate::{
    content::verdict::Watch,
    datapath::{End, Relayed, SourceError},
    fetch::{
        Fetcher, Place, Want,
        exchange::{Upstream, accept::Ask, error::PeerError},
        peers::candidates::Candidates,
    },
    http::{Method, Span},
};

/// When nothing moved for as long, others may fetch the same object.
const HELD_UP: Duration = Duration::from_secs(1);
/// How long others wait for containerd to store what it got, so that they need not fetch it too.
const STORED: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(10);

/// A large object, or a part of one, that a peer is ready to send.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) fetcher: Fetcher,
    pub(crate) want: Want,
    pub(crate) span: Span,
    pub(crate) total: u64,
    pub(crate) candidates: Candidates,
    pub(crate) upstream: Option<Upstream>,
    /// How an open-ended range is cut up.
    pub(crate) parts: Option<Parts>,
    pub(crate) hasher: Option<Hasher>,
    /// Who tells whether unhashed bytes were right.
    pub(crate) watch: Option<Box<dyn Watch>>,
    /// Who sent bytes of it, and of the other ranges that containerd will judge together with it.
    pub(crate) senders: Arc<Senders>,
    pub(crate) place: Place,
    pub(crate) progress: Progress,
}

/// What happened to a transfer so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Whether the last peer failed, and left it to another one to go on.
    broken: bool,
    /// Whether peers were looked for a second time.
    refound: bool,
    /// Whether the bytes turned out to be wrong.
    pub(crate) wrong: bool,
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// containerd has all of it.
    Complete,
    /// No peer was left: the reply is to end short.
    Short,
    /// containerd went away.
    Gone,
}

impl Transfer {
    /// The bytes that will be sent.
    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// Size of the whole object.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Sends the bytes. `moved` is told of them as containerd's socket takes them.
    pub(crate) async fn deliver(
        mut self,
        client: &TcpStream,
        mut moved: impl FnMut(u64) + Send,
    ) -> Delivery {
        let delivery = self.send(client, &mut moved).await;
        self.conclude(delivery);
        delivery
    }

    async fn send(&mut self, client: &TcpStream, moved: &mut (impl FnMut(u64) + Send)) -> Delivery {
        let mut at = self.span.start();
        while at < self.span.end() {
            if self.upstream.is_none() && !self.is_wanted(at, client).await {
                return Delivery::Gone;
            }
            let Some(mut upstream) = self.upstream_at(at).await else {
                return Delivery::Short;
            };
            if std::mem::take(&mut self.progress.broken) {
                self.fetcher.0.counts.resumed.increment(1);
            }
            let peer = upstream.link.holder;
            let until = upstream.body.span.end().min(self.span.end());
            let relayed = self.move_to(&mut upstream, client, until, moved).await;
            at += relayed.moved;
            if relayed.moved > 0 || self.progress.wrong {
                self.senders.add(peer);
            }
            match relayed.end {
                End::Complete => self.delivered(upstream, until),
                End::Source(_) if self.progress.wrong => {
                    blame(&self.fetcher.0, &self.want, &self.senders);
                    return Delivery::Short;
                }
                End::Source(error) => {
                    self.fail(peer, error);
                    self.progress.broken = at > self.span.start();
                }
                End::Sink(error) => {
                    debug!(digest = %self.want.digest, %error, "containerd went away");
                    return Delivery::Gone;
                }
            }
        }
        Delivery::Complete
    }

    fn delivered(&mut self, upstream: Upstream, until: u64) {
        let inner = &self.fetcher.0;
        let peer = upstream.link.holder;
        inner.health.delivered(peer);
        if upstream.keep_alive && until == upstream.body.span.end() {
            inner.pool.put(upstream.link);
        }
        // The same peer gives the next part.
        self.candidates.again(peer);
    }

    fn fail(&self, peer: Holder, error: SourceError) {
        let inner = &self.fetcher.0;
        failed(inner, &self.want, peer, &PeerError::Body(error));
    }

    /// Moves bytes while it is this request's turn, and gives the turn up when they do not move.
    async fn move_to(
        &mut self,
        upstream: &mut Upstream,
        client: &TcpStream,
        until: u64,
        moved: &mut (impl FnMut(u64) + Send),
    ) -> Relayed {
        let mut turn = self.place.turn.take();
        let count = AtomicU64::new(0);
        let mut counted = |bytes| {
            count.fetch_add(bytes, Ordering::Relaxed);
            moved(bytes);
        };
        let mut before = 0;
        let relayed = {
            let mut pumping = std::pin::pin!(self.pump(upstream, client, until, &mut counted));
            loop {
                if let Ok(relayed) = timeout(HELD_UP, pumping.as_mut()).await {
                    break relayed;
                }
                let now = count.load(Ordering::Relaxed);
                if now == before {
                    turn = None;
                }
                before = now;
            }
        };
        self.place.turn = turn;
        relayed
    }

    /// Whether the bytes from `at` on are wanted. Between the parts of an open-ended range others
    /// have their turn, and where the client is expected to break off it gets time to do so.
    async fn is_wanted(&mut self, at: u64, client: &TcpStream) -> bool {
        let Some(parts) = &mut self.parts else {
            return true;
        };
        self.place.turn = None;
        if !parts.is_wanted(at, &self.place.flight, client).await {
            return false;
        }
        self.place.turn = Some(self.place.flight.turn().await);
        true
    }

    /// Nothing more is sent. What was not hashed waits for containerd's verdict, however little of
    /// it there is: the rest comes by other requests, or from the registry.
    fn conclude(self, delivery: Delivery) {
        let whole = delivery == Delivery::Complete && self.span.end() == self.total;
        let Self {
            fetcher,
            want,
            place,
            senders,
            watch,
            ..
        } = self;
        if let Some(watch) = watch {
            await_verdict(&fetcher, watch, want.clone(), senders);
        }
        if whole && place.flight.is_awaited() {
            let scope = fetcher.0.parts.scope.clone();
            scope.task(LogSpan::none(), async move {
                let stored = async {
                    while !fetcher.has(&want).await {
                        tokio::time::sleep(LOOK).await;
                    }
                };
                // Who waits fetches the object again after that, which is all there is to it.
                let _ = timeout(STORED, stored).await;
                drop(place);
            });
        }
    }

    /// The peer that sends the byte at `at` next.
    async fn upstream_at(&mut self, at: u64) -> Option<Upstream> {
        if let Some(upstream) = self.upstream.take() {
            return Some(upstream);
        }
        let end = match &mut self.parts {
            Some(parts) => Some(parts.next(at, &self.place.flight).min(self.span.end())),
            None => Some(self.span.end()).filter(|end| *end < self.total),
        };
        let ask = Ask { start: at, end };
        let inner = &self.fetcher.0;
        let opened = open(inner, &self.want, ask, Method::Get, &mut self.candidates).await;
        if opened.is_some() || self.progress.refound {
            return opened;
        }
        // Who was found at the start may not be all who have it by now.
        self.progress.refound = true;
        self.candidates = Candidates::find(inner, &self.want.digest).await;
        open(inner, &self.want, ask, Method::Get, &mut self.candidates).await
    }
}
