//! Gets objects from peers: who is asked, how long each may take, who comes next at the same byte,
//! and who is not asked any more.

mod count;
mod exchange;
mod peers;
mod settings;
mod transfer;

pub(crate) use self::transfer::{
    deliver::{Delivery, Transfer},
    small::Small,
};
pub use self::{
    count::METRICS,
    peers::{finder::Finder, health::Quarantine},
    settings::{FetchSettings, Verify},
};

use std::{sync::Arc, time::Duration};

use daemon::scope::Scope;
use tokio::{sync::Semaphore, time::Instant};

use self::{
    count::Counts,
    exchange::pool::Pool,
    peers::{candidates::Candidates, health::Health, hints::Hints},
    transfer::{
        blame::Unjudged,
        small::Cache,
        timing::FirstBytes,
        turn::{Flight, Turn, Turns},
    },
};
use crate::{
    content::{Content, Object, manifest::Manifest, verdict::Verdicts},
    digest::Digest,
    http::{ByteRange, Kind, Method},
    peer::PeerSockets,
};

/// Gets objects from peers. Clones are the same.
#[derive(Debug, Clone)]
pub struct Fetcher(Arc<Inner>);

/// What a fetcher works with.
#[derive(Debug)]
pub struct Parts {
    /// This node's own content.
    pub content: Content,
    /// Who has what.
    pub finder: Box<dyn Finder>,
    /// What containerd thought of what it was given.
    pub verdicts: Box<dyn Verdicts>,
    /// Where bytes are counted.
    pub sockets: PeerSockets,
    /// The tasks that fetch ahead.
    pub scope: Scope,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    settings: FetchSettings,
    pool: Pool,
    health: Health,
    hints: Hints,
    first_bytes: FirstBytes,
    cache: Cache,
    turns: Turns,
    unjudged: Unjudged,
    counts: Counts,
    /// Bounds the tasks that wait for a verdict.
    verdicts: Arc<Semaphore>,
    /// Bounds the tasks that fetch ahead.
    ahead: Arc<Semaphore>,
}

/// How long a manifest of this node may be kept back for a look at its children.
const A_MOMENT: Duration = Duration::from_secs(1);
/// Verdicts that are waited for at once.
const MOST_VERDICTS: usize = 64;

/// An object that is wanted, and the name under which it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    pub(crate) digest: Digest,
    pub(crate) kind: Kind,
    pub(crate) registry: Option<String>,
    pub(crate) repository: String,
    /// Its size, where that is known.
    pub(crate) size: Option<u64>,
}

/// Where a request stands among those for the same object.
#[derive(Debug)]
struct Place {
    flight: Arc<Flight>,
    turn: Option<Turn>,
}

/// What a fetch for containerd comes to.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// The object is there in the meantime.
    Own(Object),
    /// A small object, verified.
    Small(Small),
    /// A large one: a peer has it and is ready to send.
    Large(Box<Transfer>),
    /// The size of an object that was asked for its head only.
    Size(u64),
    /// The object has no such part; its size.
    Unsatisfiable(u64),
    /// No peer has it.
    Nowhere,
}

impl Fetcher {
    /// A fetcher that asks the peers that `parts.finder` names.
    pub fn new(parts: Parts, settings: FetchSettings) -> Self {
        Self(Arc::new(Inner {
            pool: Pool::default(),
            health: Health::default(),
            hints: Hints::default(),
            first_bytes: FirstBytes::default(),
            cache: Cache::default(),
            turns: Turns::default(),
            unjudged: Unjudged::default(),
            counts: Counts::new(),
            verdicts: Arc::new(Semaphore::new(MOST_VERDICTS)),
            ahead: Arc::new(Semaphore::new(transfer::ahead::AT_ONCE)),
            parts,
            settings,
        }))
    }

    /// Fetches an object, or begins to. One fetch of an object is under way at a time; who comes
    /// later waits, and finds what the first one got.
    pub(crate) async fn fetch(
        &self,
        want: &Want,
        method: Method,
        range: Option<ByteRange>,
    ) -> Fetched {
        let inner = &self.0;
        if let Some(small) = inner.cache.get(&want.digest) {
            return Fetched::Small(small);
        }
        if method == Method::Head && want.kind == Kind::Blob {
            return transfer::begin::size(inner, want)
                .await
                .map_or(Fetched::Nowhere, Fetched::Size);
        }
        let flight = inner.turns.flight(&want.digest);
        if let Some(ByteRange::From(start)) = range {
            flight.begins(start);
        }
        let turn = flight.turn().await;
        if turn.waited() {
            if let Some(small) = inner.cache.get(&want.digest) {
                return Fetched::Small(small);
            }
            if let Ok(Some(own)) = inner.parts.content.open(&want.digest).await {
                return Fetched::Own(own);
            }
        }
        let want = &Want {
            size: want.size.or_else(|| inner.hints.size(&want.digest)),
            ..want.clone()
        };
        let mut candidates = Candidates::find(inner, &want.digest).await;
        let small = want.kind == Kind::Manifest || want.size.is_some_and(small::fits);
        let fetched = if small {
            small::fetch(inner, want, &mut candidates)
                .await
                .map(Fetched::Small)
        } else {
            transfer::begin::begin(
                self,
                want,
                range,
                candidates,
                Place {
                    flight,
                    turn: Some(turn),
                },
            )
            .await
        };
        match fetched {
            Some(Fetched::Small(small)) => {
                inner.cache.put(&want.digest, &small);
                Fetched::Small(small)
            }
            Some(fetched) => fetched,
            None => Fetched::Nowhere,
        }
    }

    /// A manifest passed under the name of `want`, and its children will be asked for next.
    pub(crate) fn passed(&self, want: &Want, manifest: &[u8]) {
        if let Ok(manifest) = Manifest::parse(manifest) {
            self.0.hints.learn(&manifest.children);
            self.0.parts.finder.prefetch(&manifest.children);
            transfer::ahead::fetch(self, want, &manifest.children);
        }
    }

    /// Whether a manifest of this node did not pass lately.
    pub(crate) fn is_news(&self, manifest: &Digest) -> bool {
        self.0.hints.is_news(manifest, Instant::now())
    }

    /// A manifest of this node is about to pass. Where a pull was broken off, its children are asked
    /// for next, and nobody but the manifest knows their sizes. The manifest waits a moment for that.
    pub(crate) async fn passes(&self, want: &Want) {
        let _ = tokio::time::timeout(A_MOMENT, self.prepare(want)).await;
    }

    async fn prepare(&self, want: &Want) {
        let content = &self.0.parts.content;
        let Ok(Some(bytes)) = content.read_manifest(&want.digest).await else {
            return;
        };
        let Ok(manifest) = Manifest::parse(&bytes) else {
            return;
        };
        let mut children = Vec::new();
        for child in manifest.children {
            if !content.is_here(&child.digest).await {
                children.push(child);
            }
        }
        if !children.is_empty() {
            self.0.hints.learn(&children);
            self.0.parts.finder.prefetch(&children);
            transfer::ahead::fetch(self, want, &children);
        }
    }

    /// Whether the object is there in the meantime.
    async fn has(&self, want: &Want) -> bool {
        let inner = &self.0;
        inner.cache.get(&want.digest).is_some()
            || matches!(inner.parts.content.open(&want.digest).await, Ok(Some(_)))
    }

    /// Lets go of connections and objects that were not used for a while, and counts who is in
    /// quarantine.
    pub(crate) fn tidy(&self) {
        self.0.pool.tidy();
        self.0.cache.tidy();
        let quarantined = self.quarantines().len();
        self.0.counts.quarantined(quarantined);
    }

    /// Peers that are not trusted now.
    pub fn quarantines(&self) -> Vec<Quarantine> {
        self.0.health.quarantines(Instant::now())
    }
}
