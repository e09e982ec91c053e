//! Who answers for wrong bytes.
//!
//! containerd may ask for an object by several ranges at once, and for the rest of a reply that
//! ended early. Its verdict is one, on all of the bytes, and so it concerns all who sent some.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use piccolo_api::Holder;
use tokio::time::Instant;
use tracing::{Span, warn};

use super::open::failed;
use crate::{
    content::verdict::{Verdict, Watch},
    digest::Digest,
    fetch::{Fetcher, Inner, Want, exchange::error::PeerError, peers::health::Scope},
};

/// Entries of objects that nobody delivers any more are dropped when there are as many.
const TIDY: usize = 256;

/// The senders of each object on which containerd has yet to give its verdict.
#[derive(Debug, Default)]
pub(crate) struct Unjudged(Mutex<HashMap<Digest, Weak<Senders>>>);

/// Who sent bytes of an object since the last verdict on it. Lasts as long as a transfer of it or
/// the wait for the verdict.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    peers: Mutex<Vec<Holder>>,
    awaited: AtomicBool,
}

impl Unjudged {
    /// The senders of an object, of all its transfers together.
    pub(crate) fn senders(&self, digest: &Digest) -> Arc<Senders> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(senders) = table.get(digest).and_then(Weak::upgrade) {
            return senders;
        }
        if table.len() >= TIDY {
            table.retain(|_, senders| senders.strong_count() > 0);
        }
        let senders = Arc::new(Senders::default());
        table.insert(digest.clone(), Arc::downgrade(&senders));
        senders
    }

    /// The verdict on the object is known: whoever sends next is not concerned by it.
    fn judged(&self, digest: &Digest) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.remove(digest);
    }
}

impl Senders {
    /// A peer sent some of the bytes.
    pub(crate) fn add(&self, peer: Holder) {
        let mut peers = self.lock();
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }

    fn take(&self) -> Vec<Holder> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Holder>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for containerd's verdict on what `senders` sent, and blames them if it is bad. One task
/// waits for all transfers of an object.
pub(crate) fn await_verdict(
    fetcher: &Fetcher,
    watch: Box<dyn Watch>,
    want: Want,
    senders: Arc<Senders>,
) {
    if senders.lock().is_empty() || senders.awaited.swap(true, Ordering::Relaxed) {
        return;
    }
    let inner = Arc::clone(&fetcher.0);
    let Ok(place) = Arc::clone(&inner.verdicts).try_acquire_owned() else {
        senders.awaited.store(false, Ordering::Relaxed);
        return;
    };
    fetcher.0.parts.scope.task(Span::none(), async move {
        let verdict = verdict(&inner, watch, &want.digest, &senders).await;
        inner.unjudged.judged(&want.digest);
        if verdict == Verdict::Wrong {
            blame(&inner, &want, &senders);
        }
        drop(place);
    });
}

/// The verdict, however long other transfers of the object go on.
async fn verdict(
    inner: &Inner,
    mut watch: Box<dyn Watch>,
    digest: &Digest,
    senders: &Arc<Senders>,
) -> Verdict {
    loop {
        let verdict = watch.verdict().await;
        let others = Arc::strong_count(senders) > 1;
        if verdict != Verdict::Unknown || !others {
            return verdict;
        }
        match inner.parts.verdicts.watch(digest).await {
            Some(next) => watch = next,
            None => return verdict,
        }
    }
}

/// The bytes are wrong. One sender is a liar; of several it is not known who lied, and none of them
/// is asked for the object for a while.
pub(crate) fn blame(inner: &Inner, want: &Want, senders: &Senders) {
    let senders = senders.take();
    warn!(digest = %want.digest, ?senders, "the bytes of these peers are wrong");
    if let [liar] = *senders {
        failed(inner, want, liar, &PeerError::WrongBytes);
        return;
    }
    let now = Instant::now();
    for peer in senders {
        inner.health.suspect(peer, &want.digest, now);
        inner.counts.quarantine(Scope::Object);
    }
}
