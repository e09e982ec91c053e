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
use tracing::debug;

use super::{
    blame::{Judge, Senders},
    checked::{Checked, Frame},
    hash::Hasher,
    open::Opener,
    parts::Parts,
    pump::{Pump, Pumped, Wrong},
    stored::Stored,
    turn::Place,
};
use crate::{
    content::{Growing, verdict::Watch},
    datapath::{End, Patience, SourceError},
    fetch::{
        exchange::{Ask, PeerError, Question, Upstream},
        peers::Candidates,
        want::Want,
    },
    http::{Method, Span},
};

/// A transfer without progress for this long gives up its turn.
const HELD_UP: Duration = Duration::from_secs(1);
/// Probes of a silent but live peer until it is given up: ten seconds.
const SILENT: u32 = 10;

/// A large object, or a part of one, that a peer is ready to send.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(super) opener: Arc<Opener>,
    pub(super) judge: Judge,
    pub(super) stored: Stored,
    /// How long containerd may take no byte.
    pub(super) patience: Duration,
    pub(super) want: Want,
    pub(super) span: Span,
    pub(super) total: u64,
    pub(super) candidates: Candidates,
    pub(super) upstream: Option<Upstream>,
    /// The blob as it grows on this node, where it is fetched in a crowd.
    pub(super) growing: Option<Arc<Growing>>,
    /// The chunk that comes now.
    pub(super) frame: Frame,
    /// How an open-ended range is cut up.
    pub(super) parts: Option<Parts>,
    pub(super) hasher: Option<Hasher>,
    /// The judge of unhashed bytes.
    pub(super) watch: Option<Box<dyn Watch>>,
    /// Who sent bytes of it, and of the other ranges that containerd will judge together with it.
    pub(super) senders: Arc<Senders>,
    pub(super) place: Place,
    pub(super) progress: Progress,
}

/// What happened to a transfer so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Whether the last peer failed, so that another one has to resume.
    broken: bool,
    /// Consecutive probes in which a peer that is still fetching the object sent nothing.
    silent: u32,
    /// How many bytes that peer had by the last look.
    reached: u64,
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

    /// Whether it is fetched together with other nodes.
    pub(crate) fn is_crowd(&self) -> bool {
        self.candidates.is_crowd()
    }

    /// Whether it is sent as one stream despite the requested ranges. A client that got a part here
    /// would request the other parts only here, and fail if no peer is left.
    pub(crate) fn is_one_stream(&self) -> bool {
        self.span.start() == 0 && self.candidates.is_crowd()
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

    /// Sets the watch for containerd's verdict.
    pub(super) fn watched(mut self, watch: Option<Box<dyn Watch>>) -> Self {
        self.watch = watch;
        self
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
                self.opener.resumed();
            }
            let peer = upstream.peer();
            let until = upstream.body.span.end().min(self.span.end());
            let Pumped { relayed, wrong } = self
                .move_to(&mut upstream, client, (at, until), moved)
                .await;
            at += relayed.moved;
            if relayed.moved > 0 {
                self.progress.silent = 0;
                self.candidates.moved();
            }
            if relayed.moved > 0 || matches!(wrong, Some(Wrong::Object)) {
                // A peer that relays chunks matching their digests is not blamed for a false list: its
                // maker is.
                match upstream.chunks {
                    Some(maker) => self.senders.add_maker(maker),
                    None => self.senders.add(peer),
                }
            }
            match (relayed.end, wrong) {
                (_, Some(Wrong::Object)) => {
                    self.judge.blame(&self.want.digest, &self.senders);
                    return Delivery::Short;
                }
                (_, Some(Wrong::Chunk(error))) => {
                    self.judge.misfit(&self.want.digest, peer, &error);
                    self.candidates.failed(peer, error);
                    self.progress.broken = at > self.span.start();
                }
                (end, None) => {
                    if let Some(delivery) = self.ended(end, upstream, (at, until)).await {
                        return delivery;
                    }
                }
            }
        }
        Delivery::Complete
    }

    /// Handles the end or the silence of an upstream. Returns the result if the delivery is over.
    async fn ended(
        &mut self,
        end: End,
        upstream: Upstream,
        (at, until): (u64, u64),
    ) -> Option<Delivery> {
        match end {
            End::Complete => self.delivered(upstream, until),
            End::Source(error) if self.is_worth_waiting_for(&upstream, &error).await => {
                self.upstream = Some(upstream);
            }
            End::Source(error) => {
                self.progress.silent = 0;
                self.fail(upstream.peer(), error);
                self.progress.broken = at > self.span.start();
            }
            End::Sink(error) => {
                debug!(digest = %self.want.digest, %error, "containerd went away");
                return Some(Delivery::Gone);
            }
        }
        None
    }

    fn delivered(&mut self, upstream: Upstream, until: u64) {
        let peer = upstream.peer();
        self.candidates.delivered(peer);
        if until == upstream.body.span.end() {
            self.opener.done(upstream);
        }
        // The same peer gives the next part.
        self.candidates.again(peer);
    }

    fn fail(&mut self, peer: Holder, error: SourceError) {
        self.candidates.failed(peer, PeerError::Body(error));
    }

    /// Moves bytes while it is this request's turn, and gives the turn up when they do not move.
    async fn move_to(
        &mut self,
        upstream: &mut Upstream,
        client: &TcpStream,
        (at, until): (u64, u64),
        moved: &mut (impl FnMut(u64) + Send),
    ) -> Pumped {
        let count = AtomicU64::new(0);
        let pump = Pump {
            client,
            patience: Patience(self.patience),
            hasher: &mut self.hasher,
            total: self.total,
            moved: |bytes| {
                count.fetch_add(bytes, Ordering::Relaxed);
                moved(bytes);
            },
        };
        let mut before = 0;
        let (growing, frame) = (self.growing.as_deref(), &mut self.frame);
        if let Some(growing) = growing {
            growing.came_from(upstream.chunks.unwrap_or(upstream.peer()));
        }
        let pumping = async {
            match growing.filter(|_| upstream.chunks.is_some()) {
                Some(growing) => {
                    let checked = Checked {
                        pump,
                        growing,
                        frame,
                        came: &count,
                    };
                    checked.run(upstream, at).await
                }
                None => pump.run(upstream, until).await,
            }
        };
        let mut pumping = std::pin::pin!(pumping);
        loop {
            if let Ok(pumped) = timeout(HELD_UP, pumping.as_mut()).await {
                return pumped;
            }
            let now = count.load(Ordering::Relaxed);
            if now == before {
                self.place.give_up();
            }
            before = now;
        }
    }

    /// Whether the bytes from `at` on are wanted. Between the parts of an open-ended range others
    /// have their turn, and where the client is expected to break off it gets time to do so.
    async fn is_wanted(&mut self, at: u64, client: &TcpStream) -> bool {
        let Some(parts) = &mut self.parts else {
            return true;
        };
        self.place.give_up();
        if !parts.is_wanted(at, self.place.flight(), client).await {
            return false;
        }
        self.place.regain().await;
        true
    }

    /// Nothing more is sent. Unhashed bytes wait for containerd's verdict, even if they are only a
    /// part: the rest comes by other requests, or from the registry.
    fn conclude(self, delivery: Delivery) {
        let whole = delivery == Delivery::Complete && self.span.end() == self.total;
        if let Some(watch) = self.watch {
            let digest = self.want.digest.clone();
            self.judge.await_verdict(watch, digest, self.senders);
        }
        if whole && self.place.flight().is_awaited() {
            self.stored.hold(self.place, self.want.digest);
        }
    }

    /// The peer that sends the byte at `at` next.
    async fn upstream_at(&mut self, at: u64) -> Option<Upstream> {
        if let Some(upstream) = self.upstream.take() {
            return Some(upstream);
        }
        let end = match &mut self.parts {
            Some(parts) => Some(parts.next(at, self.place.flight()).min(self.span.end())),
            None => Some(self.span.end()).filter(|end| *end < self.total),
        };
        let question = Question {
            want: &self.want,
            ask: Ask { start: at, end },
            method: Method::Get,
            crowd: self.candidates.is_crowd(),
            chunks: self.candidates.is_crowd(),
        };
        self.frame = Frame::default();
        let opened = self.opener.open(question, &mut self.candidates).await;
        if opened.is_some() || question.crowd || !self.candidates.ask_again(at).await {
            return opened;
        }
        self.opener.open(question, &mut self.candidates).await
    }

    /// Whether a peer that sends nothing is to be waited for: it waits itself, and is alive.
    async fn is_worth_waiting_for(&mut self, upstream: &Upstream, error: &SourceError) -> bool {
        if !upstream.growing || !matches!(error, SourceError::Stalled) {
            return false;
        }
        self.progress.silent += 1;
        let Some(reached) = self.opener.reached(&self.want, upstream.peer()).await else {
            return false;
        };
        // It sends chunks whole, and its next one comes.
        if reached > self.progress.reached {
            self.progress.silent = 0;
        }
        self.progress.reached = reached;
        self.progress.silent < SILENT
    }
}
