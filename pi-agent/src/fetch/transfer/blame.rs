//! Blames the senders of wrong bytes.
//!
//! containerd may ask for an object by several ranges at once, and for the rest of a reply that
//! ended early. There is one verdict on all of the bytes, so it concerns every sender.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use daemon::{scope::Scope, spell::Spell};
use lru::LruCache;
use metrics::counter;
use parking_lot::Mutex;
use piccolo_api::Holder;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};
use tracing::{Span, debug, warn};

use super::count::{LISTS_REFUSED, MISFITS};
use crate::{
    content::verdict::{Verdict, Verdicts, Watch},
    digest::Digest,
    fetch::{exchange::PeerError, peers::Peers},
};

/// Number of entries at which those of finished objects are dropped.
const TIDY: usize = 256;

/// The most verdicts awaited at once.
const MAX_PENDING_VERDICTS: usize = 64;

/// How long who asks for an object again waits for the verdict on what it got: longer than between two
/// looks at the ingest.
const VERDICT_SOON: Duration = Duration::from_millis(700);
/// How long it is remembered who sent a whole object of which no verdict was seen, and of how many objects.
const DOUBTED: Duration = Duration::from_mins(5);
const MAX_DOUBTS: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Waits for containerd's verdicts, and blames who sent what is wrong. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Judge(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    verdicts: Box<dyn Verdicts>,
    peers: Arc<Peers>,
    unjudged: Unjudged,
    doubts: Doubts,
    /// Bounds the tasks that wait for a verdict.
    waiting: Arc<Semaphore>,
    scope: Scope,
    /// Of peers that sent wrong bytes.
    liars: Spell,
}

/// The senders of each object on which containerd has yet to give its verdict.
#[derive(Debug, Default)]
struct Unjudged(Mutex<HashMap<Digest, Weak<Senders>>>);

/// Who sent whole objects on which no verdict was seen.
#[derive(Debug)]
struct Doubts(Mutex<LruCache<Digest, (Instant, Arc<Senders>)>>);

/// Who sent bytes of an object since the last verdict on it. Lasts as long as a transfer of it or
/// the wait for the verdict.
#[derive(Debug, Default)]
pub(super) struct Senders {
    peers: Mutex<Vec<Holder>>,
    /// Whether some came in a crowd: those named are the makers of chunk lists then.
    in_crowd: AtomicBool,
    awaited: AtomicBool,
    /// Bytes that were passed on in all, and those of the object.
    passed: AtomicU64,
    total: AtomicU64,
    judged: watch::Sender<bool>,
}

impl Unjudged {
    /// The senders of an object, of all its transfers together.
    fn senders(&self, digest: &Digest) -> Arc<Senders> {
        let mut table = self.0.lock();
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

    /// Tells when the verdict on an object is there, all of which was passed on.
    fn judgement(&self, digest: &Digest) -> Option<watch::Receiver<bool>> {
        let table = self.0.lock();
        let senders = table.get(digest)?.upgrade()?;
        senders.is_whole().then(|| senders.judged.subscribe())
    }

    /// The verdict on the object is known; it does not concern later senders.
    fn judged(&self, digest: &Digest) {
        let mut table = self.0.lock();
        table.remove(digest);
    }
}

impl Senders {
    /// A peer sent some of the bytes.
    pub(super) fn add(&self, peer: Holder) {
        let mut peers = self.lock();
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }

    /// A peer sent some of the bytes, or others did by its chunk list, while they got them themselves.
    pub(super) fn add_maker(&self, maker: Holder) {
        self.in_crowd.store(true, Ordering::Relaxed);
        self.add(maker);
    }

    /// Bytes of an object of `total` bytes were passed on.
    pub(super) fn passed(&self, bytes: u64, total: u64) {
        self.passed.fetch_add(bytes, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Whether as many bytes were passed on as the object has.
    fn is_whole(&self) -> bool {
        let total = self.total.load(Ordering::Relaxed);
        total > 0 && self.passed.load(Ordering::Relaxed) >= total
    }

    fn take(&self) -> Vec<Holder> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Vec<Holder>> {
        self.peers.lock()
    }
}

impl Default for Doubts {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_DOUBTS)))
    }
}

impl Doubts {
    fn add(&self, digest: &Digest, senders: &Arc<Senders>) {
        let end = Instant::now() + DOUBTED;
        self.0
            .lock()
            .put(digest.clone(), (end, Arc::clone(senders)));
    }

    fn take(&self, digest: &Digest) -> Option<Arc<Senders>> {
        let (end, senders) = self.0.lock().pop(digest)?;
        (end > Instant::now()).then_some(senders)
    }
}

impl Judge {
    /// Blames `peers` by what `verdicts` gives; tasks that await verdicts run in `scope`.
    pub(crate) fn new(verdicts: Box<dyn Verdicts>, peers: Arc<Peers>, scope: Scope) -> Self {
        Self(Arc::new(Inner {
            verdicts,
            peers,
            unjudged: Unjudged::default(),
            doubts: Doubts::default(),
            waiting: Arc::new(Semaphore::new(MAX_PENDING_VERDICTS)),
            scope,
            liars: Spell::new("no peer has sent wrong bytes of late"),
        }))
    }

    /// Begins to watch the ingest of an object, before its first byte is sent.
    pub(super) async fn watch(&self, digest: &Digest) -> Option<Box<dyn Watch>> {
        self.0.verdicts.watch(digest).await
    }

    /// The senders of an object, of all its transfers together.
    pub(super) fn senders(&self, digest: &Digest) -> Arc<Senders> {
        self.0.unjudged.senders(digest)
    }

    /// Waits for containerd's verdict on what `senders` sent, and blames them if it is bad. One task
    /// waits for all transfers of an object.
    pub(super) fn await_verdict(
        &self,
        watch: Box<dyn Watch>,
        digest: Digest,
        senders: Arc<Senders>,
    ) {
        if senders.lock().is_empty() || senders.awaited.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(place) = Arc::clone(&self.0.waiting).try_acquire_owned() else {
            senders.awaited.store(false, Ordering::Relaxed);
            return;
        };
        let judge = self.clone();
        self.0.scope.task(Span::none(), async move {
            let verdict = judge.verdict(watch, &digest, &senders).await;
            judge.0.unjudged.judged(&digest);
            match verdict {
                Verdict::Right => judge.0.liars.is_well(),
                Verdict::Wrong => judge.blame(&digest, &senders),
                Verdict::Unknown if senders.is_whole() => judge.0.doubts.add(&digest, &senders),
                Verdict::Unknown => {}
            }
            senders.judged.send_replace(true);
            drop(place);
        });
    }

    /// The object is asked for again, from its first byte on. If all of it was passed on a short while ago,
    /// and containerd does not have it, then what was passed on was wrong, though its verdict was not seen:
    /// the ingest may come and go between two looks at it. None of the senders is asked again for a while.
    pub(crate) async fn came_again(&self, digest: &Digest) {
        if let Some(mut judged) = self.0.unjudged.judgement(digest) {
            // A slow commit is waited for no longer.
            let _ = timeout(VERDICT_SOON, judged.wait_for(|judged| *judged)).await;
        }
        let Some(senders) = self.0.doubts.take(digest) else {
            return;
        };
        let senders = senders.take();
        self.0.liars.happened(|times| {
            warn!(%digest, ?senders, times, "what these peers sent is asked for again, and is not taken \
                  from them any more");
        });
        for peer in senders {
            self.0.peers.suspect(peer, digest);
        }
    }

    /// The verdict, however long other transfers of the object go on.
    async fn verdict(
        &self,
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
            match self.watch(digest).await {
                Some(next) => watch = next,
                None => return verdict,
            }
        }
    }

    /// A chunk is wrong, or goes by another list than the others.
    pub(super) fn misfit(&self, digest: &Digest, peer: Holder, error: &PeerError) {
        if matches!(error, PeerError::OtherList(_)) {
            counter!(LISTS_REFUSED.name, "why" => "differs").increment(1);
            debug!(%digest, %peer, %error, "a peer is given up");
            return;
        }
        counter!(MISFITS.name).increment(1);
        self.0.liars.happened(|times| {
            warn!(%digest, %peer, %error, times, "a peer is given up: it sent a wrong chunk");
        });
    }

    /// The bytes are wrong. One sender is a liar; of several it is not known who lied, and none of
    /// them is asked for the object for a while.
    pub(super) fn blame(&self, digest: &Digest, senders: &Senders) {
        let in_crowd = senders.in_crowd.load(Ordering::Relaxed);
        let senders = senders.take();
        self.0.liars.happened(|times| {
            warn!(%digest, ?senders, times, "the bytes of these peers are wrong");
        });
        if in_crowd {
            counter!(LISTS_REFUSED.name, "why" => "false").increment(1);
        }
        if let [liar] = *senders {
            if in_crowd {
                self.0.peers.refused(digest, liar);
            }
            self.0.peers.failed(liar, digest, &PeerError::WrongBytes);
            return;
        }
        for peer in senders {
            self.0.peers.suspect(peer, digest);
        }
    }
}
