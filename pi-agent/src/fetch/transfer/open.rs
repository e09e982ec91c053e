//! Asks one peer after the other, and a second one at the same time when the first is slow.

use std::{
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use piccolo_api::Holder;
use tokio::time::{Instant, timeout};

use super::{count::Counts, timing::FirstBytes};
use crate::fetch::{
    Want,
    exchange::{Exchanges, PROBE, PeerError, Question, Upstream},
    peers::Candidates,
    settings::FetchSettings,
};

/// Finds the peer that sends next.
#[derive(Debug)]
pub(crate) struct Opener {
    exchanges: Exchanges,
    first_bytes: FirstBytes,
    counts: Counts,
    /// How long peers may be looked for.
    within: Duration,
    /// How long a source in a crowd may take to its first byte.
    wait: Duration,
}

/// A request to a second peer, made because the first one is slow. It is counted when it is over,
/// however the others end: the first one may fail while the second is waited for.
struct Hedge<'a> {
    counts: &'a Counts,
    second: Holder,
    won: bool,
}

impl Opener {
    /// Asks by `exchanges`, as `settings` say.
    pub(crate) fn new(exchanges: Exchanges, settings: &FetchSettings) -> Self {
        Self {
            exchanges,
            first_bytes: FirstBytes::default(),
            counts: Counts::new(),
            within: settings.open,
            wait: settings.swarm_wait,
        }
    }

    /// The deadline for finding peers, from now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.within
    }

    /// The first peer whose head is accepted, or `None` when there is none in time.
    pub(super) async fn open(
        &self,
        question: Question<'_>,
        candidates: &mut Candidates,
    ) -> Option<Upstream> {
        loop {
            let race = self.race(question, candidates);
            if !question.crowd {
                return timeout(self.within, race).await.ok().flatten();
            }
            // Each of them has its own deadline, and there is one at a time.
            if let Some(upstream) = race.await {
                return Some(upstream);
            }
            if !candidates.ask_again(question.ask.start).await {
                return None;
            }
            if !candidates.is_crowd() {
                let race = self.race(question, candidates);
                return timeout(self.within, race).await.ok().flatten();
            }
        }
    }

    /// Asks one peer of a crowd.
    pub(super) async fn ask(
        &self,
        question: Question<'_>,
        peer: Holder,
    ) -> Result<Upstream, PeerError> {
        self.attempt(question, peer).await.1
    }

    /// How many bytes a peer that sends nothing has, if it is still getting the object.
    pub(super) async fn reached(&self, want: &Want, peer: Holder) -> Option<u64> {
        self.exchanges.reached(want, peer, PROBE).await
    }

    /// The same of one that sends, which may be slow to say it.
    pub(super) async fn reached_within(
        &self,
        want: &Want,
        peer: Holder,
        within: Duration,
    ) -> Option<u64> {
        self.exchanges.reached(want, peer, within).await
    }

    /// The body of `upstream` was read to its end.
    pub(super) fn done(&self, upstream: Upstream) {
        self.exchanges.done(upstream);
    }

    /// Another peer resumes where one failed.
    pub(super) fn resumed(&self) {
        self.counts.resumed.increment(1);
    }

    /// Closes connections that were not used for a while.
    pub(crate) fn tidy(&self) {
        self.exchanges.tidy();
    }

    /// Closes idle connections.
    pub(crate) fn renew(&self) {
        self.exchanges.renew();
    }

    async fn race(&self, question: Question<'_>, candidates: &mut Candidates) -> Option<Upstream> {
        let mut running = FuturesUnordered::new();
        // Those asked before the newest one, which it may overtake.
        let mut waited_for: Vec<Holder> = Vec::new();
        let mut hedge: Option<Hedge<'_>> = None;
        let question = Question {
            every: candidates.stripes(),
            ..question
        };
        loop {
            if running.is_empty() {
                hedge = None;
                let peer = candidates.next()?;
                running.push(self.attempt(question, peer));
                waited_for = vec![peer];
            }
            let may_hedge = waited_for.len() == 1 && !candidates.is_empty();
            let slow = self.first_bytes.slow();
            let (peer, result) = tokio::select! {
                biased;
                Some(ended) = running.next() => ended,
                () = tokio::time::sleep(slow), if may_hedge => {
                    if let Some(peer) = candidates.next() {
                        running.push(self.attempt(question, peer));
                        waited_for.push(peer);
                        hedge = Some(Hedge::new(&self.counts, peer));
                    }
                    continue;
                }
            };
            match result {
                Ok(upstream) => {
                    if let Some(hedge) = &mut hedge {
                        hedge.won = hedge.second == peer;
                    }
                    if let [first, second] = *waited_for
                        && second == peer
                    {
                        candidates.overtaken(first);
                    }
                    return Some(upstream);
                }
                Err(error) => {
                    waited_for.retain(|p| *p != peer);
                    candidates.failed(peer, error);
                }
            }
        }
    }

    async fn attempt(
        &self,
        question: Question<'_>,
        peer: Holder,
    ) -> (Holder, Result<Upstream, PeerError>) {
        let since = Instant::now();
        let result = if question.crowd {
            self.first_byte(question, peer).await
        } else {
            self.exchanges.ask(question, peer).await
        };
        if result.is_ok() && !question.crowd {
            let time = since.elapsed();
            self.first_bytes.add(time);
            self.counts.first_byte.record(time.as_secs_f64());
        }
        (peer, result)
    }

    /// Asks a source in a crowd, which may be waiting for the byte itself.
    async fn first_byte(
        &self,
        question: Question<'_>,
        peer: Holder,
    ) -> Result<Upstream, PeerError> {
        let silent = AtomicU8::new(0);
        tokio::select! {
            result = self.exchanges.ask(question, peer) => result,
            () = self.exchanges.death(question, peer, &silent) => Err(PeerError::HeadDeadline),
            () = tokio::time::sleep(self.wait) => Err(match silent.load(Relaxed) {
                0 => PeerError::NoFirstByte,
                _ => PeerError::HeadDeadline,
            }),
        }
    }
}

impl<'a> Hedge<'a> {
    fn new(counts: &'a Counts, second: Holder) -> Self {
        Self {
            counts,
            second,
            won: false,
        }
    }
}

impl Drop for Hedge<'_> {
    fn drop(&mut self) {
        if self.won {
            self.counts.hedges_won.increment(1);
        } else {
            self.counts.hedges_lost.increment(1);
        }
    }
}
