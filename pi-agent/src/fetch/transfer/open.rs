//! Asks one peer after the other, and a second one at the same time when the first is slow.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use piccolo_api::Holder;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::{
    fetch::{
        Inner, Want,
        count::Counts,
        exchange::{Upstream, accept::Ask, error::PeerError, exchange},
        peers::{candidates::Candidates, named::may_be_asked},
    },
    http::Method,
};

/// A request to a second peer, made because the first one is slow. It is counted when it is over,
/// however the others end: the first one may fail while the second is waited for.
struct Hedge<'a> {
    counts: &'a Counts,
    second: Holder,
    won: bool,
}

/// The first peer whose head is accepted, or `None` when there is none in time.
pub(crate) async fn open(
    inner: &Inner,
    want: &Want,
    ask: Ask,
    method: Method,
    candidates: &mut Candidates,
) -> Option<Upstream> {
    let race = race(inner, want, ask, method, candidates);
    timeout(inner.settings.open, race).await.ok().flatten()
}

async fn race(
    inner: &Inner,
    want: &Want,
    ask: Ask,
    method: Method,
    candidates: &mut Candidates,
) -> Option<Upstream> {
    let mut running = FuturesUnordered::new();
    // Those asked before the newest one, which it may overtake.
    let mut waited_for: Vec<Holder> = Vec::new();
    let mut hedge: Option<Hedge<'_>> = None;
    loop {
        if running.is_empty() {
            hedge = None;
            let peer = candidates.next(inner, &want.digest)?;
            running.push(attempt(inner, want, ask, method, peer));
            waited_for = vec![peer];
        }
        let may_hedge = waited_for.len() == 1 && !candidates.is_empty();
        let slow = inner.first_bytes.slow();
        let (peer, result) = tokio::select! {
            biased;
            Some(ended) = running.next() => ended,
            () = tokio::time::sleep(slow), if may_hedge => {
                if let Some(peer) = candidates.next(inner, &want.digest) {
                    running.push(attempt(inner, want, ask, method, peer));
                    waited_for.push(peer);
                    hedge = Some(Hedge::new(&inner.counts, peer));
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
                    inner.health.overtaken(first, Instant::now());
                }
                return Some(upstream);
            }
            Err(error) => {
                waited_for.retain(|p| *p != peer);
                failed(inner, want, peer, &error);
                if let PeerError::Busy(mut others) = error {
                    others.retain(|other| may_be_asked(*other, peer, inner.settings.own));
                    candidates.add(inner, &want.digest, others);
                }
            }
        }
    }
}

async fn attempt(
    inner: &Inner,
    want: &Want,
    ask: Ask,
    method: Method,
    peer: Holder,
) -> (Holder, Result<Upstream, PeerError>) {
    let since = Instant::now();
    let result = exchange(inner, want, ask, method, peer).await;
    if result.is_ok() {
        let time = since.elapsed();
        inner.first_bytes.add(time);
        inner.counts.first_byte.record(time.as_secs_f64());
    }
    (peer, result)
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

/// Notes a failure everywhere where it matters.
pub(crate) fn failed(inner: &Inner, want: &Want, peer: Holder, error: &PeerError) {
    let kind = error.kind();
    debug!(%peer, digest = %want.digest, error = %daemon::telemetry::chain(error), "a peer failed");
    Counts::failure(kind);
    let now = Instant::now();
    if let Some(scope) = inner.health.failed(peer, &want.digest, kind, now) {
        inner.counts.quarantine(scope);
    }
    inner.parts.finder.failed(peer, kind);
}
