//! Large objects: from peers to containerd, one peer after the other at the same byte.

use piccolo_api::Holder;
use tokio::{net::TcpStream, time::Instant};
use tracing::debug;

use super::{
    Candidates, Fetcher, Want,
    accept::Ask,
    error::PeerError,
    exchange::Upstream,
    hash::Hasher,
    open::{failed, open},
    turn::Turn,
};
use crate::{
    datapath::{
        End, Floor, Patience, Relayed, SourceError, Tally, Tap as _, copy, read_exact, relay,
        write_all,
    },
    http::{Method, Span},
    peer::Meter,
};

/// Parts of an open-ended range grow up to this size.
const LAST_PART: u64 = 8 << 20;
/// Bytes at the end of a hashed object that are held back until the digest is known.
const HELD: u64 = 16 << 10;

/// A large object, or a part of one, that a peer is ready to send.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(super) fetcher: Fetcher,
    pub(super) want: Want,
    pub(super) span: Span,
    pub(super) total: u64,
    pub(super) candidates: Candidates,
    pub(super) upstream: Option<Upstream>,
    /// Size of the last part, of an open-ended range.
    pub(super) part: Option<u64>,
    pub(super) hasher: Option<Hasher>,
    pub(super) turn: Turn,
    pub(super) progress: Progress,
}

/// What happened to a transfer so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Who sent bytes of it.
    senders: Vec<Holder>,
    /// Whether peers were looked for a second time.
    refound: bool,
    /// Whether the bytes turned out to be wrong.
    wrong: bool,
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

/// Counts bytes on both sides of a relay.
struct Passed<'a, F> {
    meter: Meter,
    moved: &'a mut F,
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
        let mut at = self.span.start();
        while at < self.span.end() {
            let Some(mut upstream) = self.upstream_at(at).await else {
                return Delivery::Short;
            };
            let peer = upstream.link.holder;
            if !self.progress.senders.contains(&peer) {
                self.progress.senders.push(peer);
            }
            let until = upstream.body.span.end().min(self.span.end());
            let relayed = self.pump(&mut upstream, client, until, &mut moved).await;
            at += relayed.moved;
            match relayed.end {
                End::Complete => self.delivered(upstream, until),
                End::Source(_) if self.progress.wrong => {
                    self.reject();
                    return Delivery::Short;
                }
                End::Source(error) => self.fail(peer, error),
                End::Sink(error) => {
                    debug!(digest = %self.want.digest, %error, "containerd went away");
                    return Delivery::Gone;
                }
            }
        }
        self.conclude();
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
        inner.counts.resumed.increment(1);
    }

    /// The bytes were hashed, and are wrong. One sender is a liar; of several it is not known who
    /// lied.
    fn reject(&self) {
        let inner = &self.fetcher.0;
        if let [liar] = *self.progress.senders {
            failed(inner, &self.want, liar, &PeerError::WrongBytes);
        } else {
            for peer in &self.progress.senders {
                inner.health.suspect(*peer, &self.want.digest, Instant::now());
            }
        }
    }

    /// All was sent. What was not hashed waits for containerd's verdict.
    fn conclude(self) {
        if self.hasher.is_none() && self.span.end() == self.total {
            self.fetcher.await_verdict(self.want.digest, self.progress.senders);
        }
        drop(self.turn);
    }

    /// The peer that sends the byte at `at` next.
    async fn upstream_at(&mut self, at: u64) -> Option<Upstream> {
        if let Some(upstream) = self.upstream.take() {
            return Some(upstream);
        }
        let end = match &mut self.part {
            Some(part) => {
                *part = part.saturating_mul(2).min(LAST_PART);
                Some(at.saturating_add(*part).min(self.span.end()))
            }
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

    /// Passes on what the upstream sends, to before `until`.
    async fn pump(
        &mut self,
        upstream: &mut Upstream,
        client: &TcpStream,
        until: u64,
        moved: &mut (impl FnMut(u64) + Send),
    ) -> Relayed {
        let settings = &self.fetcher.0.settings;
        let patience = Patience(settings.patience);
        let mut floor = Floor::new(settings.floor, Instant::now());
        let mut tally = Passed {
            meter: upstream.link.meter().clone(),
            moved,
        };
        let hold = self.hasher.is_some() && until == self.total;
        let free = if hold {
            until.saturating_sub(HELD).max(upstream.next)
        } else {
            until
        };
        // What was read together with the head comes first.
        let here = upstream.link.inbox.take(free - upstream.next);
        let mut total = u64::try_from(here.len()).unwrap_or(u64::MAX);
        tally.came(total);
        if let Some(hasher) = &mut self.hasher {
            hasher.look(&here);
        }
        if let Err(error) = write_all(client, &here, patience).await {
            return Relayed { moved: 0, end: End::Sink(error) };
        }
        tally.went(total);
        let length = free - upstream.next - total;
        let source = &upstream.link.stream;
        let relayed = match &mut self.hasher {
            Some(hasher) => {
                copy(source, client, length, &mut floor, patience, hasher, &mut tally).await
            }
            None => relay(source, client, length, &mut floor, patience, &mut tally).await,
        };
        total += relayed.moved;
        upstream.next += total;
        let mut end = relayed.end;
        if hold && matches!(end, End::Complete) {
            let judged = self.judge(upstream, client, until, &mut floor, &mut tally).await;
            total += judged.moved;
            end = judged.end;
        }
        Relayed { moved: total, end }
    }

    /// Sends the last bytes of a hashed object if they make the digest right.
    async fn judge(
        &mut self,
        upstream: &mut Upstream,
        client: &TcpStream,
        until: u64,
        floor: &mut Floor,
        tally: &mut impl Tally,
    ) -> Relayed {
        let source = |error| Relayed { moved: 0, end: End::Source(error) };
        let held = until - upstream.next;
        let mut bytes = upstream.link.inbox.take(held).to_vec();
        let here = bytes.len();
        tally.came(u64::try_from(here).unwrap_or(u64::MAX));
        bytes.resize(usize::try_from(held).unwrap_or(here), 0);
        let rest = bytes.get_mut(here..).unwrap_or_default();
        let read = read_exact(&upstream.link.stream, rest, floor, |n| tally.came(n)).await;
        if let Err(error) = read {
            return source(error);
        }
        if let Some(mut hasher) = self.hasher.take() {
            hasher.look(&bytes);
            self.progress.wrong = !hasher.matches();
        }
        if self.progress.wrong {
            return source(SourceError::Ended);
        }
        let patience = Patience(self.fetcher.0.settings.patience);
        match write_all(client, &bytes, patience).await {
            Ok(()) => {
                tally.went(held);
                Relayed { moved: held, end: End::Complete }
            }
            Err(error) => Relayed { moved: 0, end: End::Sink(error) },
        }
    }
}

impl<F: FnMut(u64) + Send> Tally for Passed<'_, F> {
    fn came(&mut self, bytes: u64) {
        self.meter.received_body(bytes);
    }

    fn went(&mut self, bytes: u64) {
        (self.moved)(bytes);
    }
}
