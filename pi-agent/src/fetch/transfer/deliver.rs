//! Large objects: from peers to containerd, one peer after the other at the same byte.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use daemon::tls::Socket;
use piccolo_api::Holder;
use tokio::time::timeout;
use tracing::debug;

use super::{
    blame::{Judge, Senders},
    checked::Way,
    ending::Ending,
    hash::Hasher,
    open::Opener,
    ordered::Ordered,
    pump::Pump,
    silence::Silence,
    slowness::Slowness,
    stored::Stored,
    striped::Striped,
    turn::QueuePosition,
};
use crate::{
    content::{Growing, verdict::Watch},
    datapath::{Patience, SourceError},
    fetch::{
        exchange::{Ask, PeerError, Question, Upstream},
        peers::Candidates,
        want::Want,
    },
    http::{Method, Span},
};

/// A transfer without progress for this long gives up its turn.
const HELD_UP: Duration = Duration::from_secs(1);

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
    /// What is asked of the digests of its chunks.
    pub(super) labels: Labels,
    /// Bytes that were passed on.
    pub(super) passed: u64,
    pub(super) hasher: Option<Hasher>,
    /// The judge of unhashed bytes.
    pub(super) watch: Option<Box<dyn Watch>>,
    /// Who sent bytes of it, and of the other ranges that containerd will judge together with it.
    pub(super) senders: Arc<Senders>,
    pub(super) place: QueuePosition,
    /// That of the peer that sends now.
    pub(super) silence: Silence,
    /// Whether the last peer failed, so that another one has to resume.
    pub(super) broken: bool,
}

/// What is asked of the digests of an object's chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Labels {
    /// Bytes come without them.
    Unwanted,
    /// Peers that have them are to send them.
    Wanted,
    /// No byte is passed on without them.
    Needed,
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

    /// Size of the whole object.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Sends the bytes. `moved` is told of them as containerd's socket takes them.
    pub(crate) async fn deliver(
        mut self,
        client: &Socket,
        mut moved: impl FnMut(u64) + Send,
    ) -> Delivery {
        let delivery = self.send(client, &mut moved).await;
        self.conclude(delivery);
        delivery
    }

    /// Sets the watch for containerd's verdict, on bytes that are not hashed here.
    pub(super) fn watched(mut self, watch: Option<Box<dyn Watch>>) -> Self {
        self.watch = watch.filter(|_| self.hasher.is_none());
        self
    }

    async fn send(&mut self, client: &Socket, moved: &mut (impl FnMut(u64) + Send)) -> Delivery {
        let mut at = self.span.start();
        while at < self.span.end() {
            let Some(mut upstream) = self.upstream_at(at).await else {
                return Delivery::Short;
            };
            if std::mem::take(&mut self.broken) {
                self.opener.resumed();
            }
            let until = upstream.body.span.end().min(self.span.end());
            let (count, ending) = self
                .move_to(&mut upstream, client, (at, until), moved)
                .await;
            at += count;
            self.passed += count;
            if count > 0 {
                self.silence.ends();
                self.candidates.moved();
            }
            if let Some(delivery) = self.ended(ending, upstream, (at, until)).await {
                return delivery;
            }
        }
        Delivery::Complete
    }

    /// What the peers sent is over. Gives how the delivery ends by that, if it does.
    async fn ended(
        &mut self,
        ending: Ending,
        upstream: Upstream,
        (at, until): (u64, u64),
    ) -> Option<Delivery> {
        match ending {
            Ending::Complete => self.delivered(upstream, until),
            Ending::Misfit(peer, error) => {
                self.judge.misfit(&self.want.digest, peer, &error);
                self.fail(peer, error, at);
            }
            Ending::Failed(_, PeerError::Body(error))
                if self.is_worth_waiting_for(&upstream, &error).await =>
            {
                self.upstream = Some(upstream);
            }
            Ending::Failed(peer, error) if error.is_expiry() => {
                self.candidates.expired(peer, error);
                self.broken = at > self.span.start();
            }
            Ending::Failed(peer, error) => self.fail(peer, error, at),
            // Whom to take from is known already.
            Ending::More => {}
            Ending::Unstriped => self.candidates.take_from_one(upstream.peer()),
            Ending::Wrong => {
                self.judge.blame(&self.want.digest, &self.senders);
                return Some(Delivery::Short);
            }
            Ending::Gone(error) => {
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

    /// Whether a peer that sends nothing is to be waited for. Where chunks come, that is seen to for each
    /// stripe.
    async fn is_worth_waiting_for(&mut self, upstream: &Upstream, error: &SourceError) -> bool {
        let asker = (&*self.opener, &self.want);
        upstream.growing
            && upstream.chunks.is_none()
            && (self.silence)
                .is_worth_waiting_for(error, upstream.peer(), asker)
                .await
    }

    fn fail(&mut self, peer: Holder, error: PeerError, at: u64) {
        self.silence = Silence::default();
        self.candidates.failed(peer, error);
        self.broken = at > self.span.start();
    }

    /// Moves bytes while it is this request's turn, and gives the turn up when they do not move. Gives
    /// how many were passed on.
    async fn move_to(
        &mut self,
        upstream: &mut Upstream,
        client: &Socket,
        (at, until): (u64, u64),
        moved: &mut (impl FnMut(u64) + Send),
    ) -> (u64, Ending) {
        let count = AtomicU64::new(0);
        let crowd = self.candidates.is_crowd();
        let question = question(
            &self.want,
            crowd,
            self.labels,
            Ask {
                start: at,
                end: None,
            },
        );
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
        let growing = self.growing.as_deref();
        if let Some(growing) = growing {
            growing.came_from(upstream.chunks.unwrap_or(upstream.peer()));
        }
        // Where stripes come from several, none of them sends as much as it gets.
        let alone = (upstream.growing && upstream.every == 1).then(|| upstream.peer());
        let member = self.candidates.member();
        let watching = Slowness::watch(alone, (growing, member), (&self.opener, &self.want));
        let mut watching = std::pin::pin!(watching);
        let (candidates, senders, total) = (&mut self.candidates, &self.senders, self.total);
        let pumping = async {
            match upstream.chunks {
                Some(_) => {
                    let way = Way {
                        order: Ordered::new(pump, at),
                        growing,
                        total,
                        senders,
                        came: &count,
                    };
                    let striped = Striped {
                        opener: &self.opener,
                        way,
                        question,
                    };
                    striped.run(upstream, candidates).await
                }
                None => pump.run(upstream, until, senders).await,
            }
        };
        let mut pumping = std::pin::pin!(pumping);
        loop {
            let pumped = tokio::select! {
                biased;
                pumped = timeout(HELD_UP, pumping.as_mut()) => pumped,
                never = watching.as_mut() => match never {},
            };
            if let Ok(pumped) = pumped {
                return pumped;
            }
            let now = count.load(Ordering::Relaxed);
            if now == before {
                self.place.give_up();
            }
            before = now;
        }
    }

    /// Nothing more is sent. Unhashed bytes wait for containerd's verdict, even if they are only a
    /// part: the rest comes by other requests, or from the registry.
    fn conclude(self, delivery: Delivery) {
        let whole = delivery == Delivery::Complete && self.span.end() == self.total;
        self.senders.passed(self.passed, self.total);
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
        let end = Some(self.span.end()).filter(|end| *end < self.total);
        let opened = self.open(at, end).await;
        let crowd = self.candidates.is_crowd();
        if opened.is_some() || crowd || !self.candidates.ask_again(at).await {
            return opened;
        }
        self.open(at, end).await
    }

    /// The next candidate that sends the bytes from `at` on as they are wanted.
    async fn open(&mut self, at: u64, end: Option<u64>) -> Option<Upstream> {
        loop {
            let question = question(
                &self.want,
                self.candidates.is_crowd(),
                self.labels,
                Ask { start: at, end },
            );
            let upstream = self.opener.open(question, &mut self.candidates).await?;
            if upstream.chunks.is_some() || self.labels != Labels::Needed {
                return Some(upstream);
            }
        }
    }
}

/// What is asked of a peer that is to send some of the bytes.
pub(super) fn question(want: &Want, crowd: bool, labels: Labels, ask: Ask) -> Question<'_> {
    let complete = labels != Labels::Unwanted;
    Question {
        crowd,
        chunks: crowd || complete,
        complete,
        ..Question::plain(want, ask, Method::Get)
    }
}
