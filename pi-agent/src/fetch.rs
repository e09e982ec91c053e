//! Gets objects from peers: chooses the peer, bounds its time, continues with the next peer at the same
//! byte, and quarantines bad ones.

mod ahead;
mod exchange;
mod peers;
mod settings;
mod transfer;
mod want;

pub(crate) use self::{
    peers::MemberView,
    transfer::{Delivery, Small, Transfer},
    want::Want,
};
pub use self::{
    peers::{Finder, Joined, Quarantine},
    settings::{FetchSettings, LazyRanges, Swarm, VERIFY_MEMORY, Verify},
};

use std::{sync::Arc, time::Duration};

use daemon::{metric::Metric, scope::Scope};
use tokio::time::Instant;

use self::{
    ahead::Ahead,
    exchange::Exchanges,
    peers::{Hints, Patience, Peers},
    transfer::{Begun, Judge, Opener, QueuePosition, Smalls, Stored, Transfers, Turns, fits},
};
use crate::{
    content::{
        Asked, Content, Growing, Object,
        manifest::{Descriptor, Manifest},
        verdict::Verdicts,
    },
    digest::Digest,
    http::{ByteRange, Kind, Method},
    sockets::PeerSockets,
};

/// The metrics of this module.
pub const METRICS: &[Metric] = &[
    peers::FAILURES,
    transfer::RESUMED,
    transfer::HEDGES,
    peers::QUARANTINES,
    peers::QUARANTINED,
    transfer::FIRST_BYTE,
    peers::TURNS,
    peers::HANDED_OVER,
    peers::LOST,
    peers::SLOW,
    transfer::CHECKED,
    transfer::MISFITS,
    transfer::LISTS_REFUSED,
];

/// Gets objects from peers. Clones are the same.
#[derive(Debug, Clone)]
pub struct Fetcher(Arc<Inner>);

/// The parts that a fetcher is built from.
#[derive(Debug)]
pub struct Parts {
    /// This node's own content.
    pub content: Content,
    /// Finds the holders of objects.
    pub finder: Box<dyn Finder>,
    /// containerd's verdicts on the bytes that it was given.
    pub verdicts: Box<dyn Verdicts>,
    /// Counts the bytes of every connection.
    pub sockets: PeerSockets,
    /// The tasks that fetch ahead.
    pub scope: Scope,
}

#[derive(Debug)]
struct Inner {
    /// This node's own content.
    content: Content,
    peers: Arc<Peers>,
    hints: Hints,
    turns: Turns,
    opener: Arc<Opener>,
    smalls: Arc<Smalls>,
    transfers: Transfers,
    stored: Stored,
    ahead: Ahead,
}

/// Deadline of the find for the children of a manifest that this node already has; the manifest
/// waits for it.
const EXPECT_CHILDREN_DEADLINE: Duration = Duration::from_secs(1);

/// The result of a fetch for containerd.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// This node has the object by now.
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
    pub fn new(parts: Parts, settings: &FetchSettings) -> Self {
        let Parts {
            content,
            finder,
            verdicts,
            sockets,
            scope,
        } = parts;
        let peers = Arc::new(Peers::new(finder, settings, &scope));
        let exchanges = Exchanges::new(sockets, settings);
        let opener = Arc::new(Opener::new(exchanges, settings));
        let smalls = Arc::new(Smalls::new(Arc::clone(&opener), settings));
        let stored = Stored::new(content.clone(), Arc::clone(&smalls), scope.clone());
        let transfers = Transfers {
            opener: Arc::clone(&opener),
            smalls: Arc::clone(&smalls),
            judge: Judge::new(verdicts, Arc::clone(&peers), scope.clone()),
            stored: stored.clone(),
            peers: Arc::clone(&peers),
            verify: settings.verify,
            lazy_ranges: settings.lazy_ranges,
            patience: settings.patience,
        };
        Self(Arc::new(Inner {
            content,
            peers,
            hints: Hints::default(),
            turns: Turns::default(),
            opener,
            smalls,
            transfers,
            stored,
            ahead: Ahead::new(scope),
        }))
    }

    /// Fetches an object, or begins to. One fetch of an object is in flight at a time; who comes
    /// later waits, and finds what the first one got.
    pub(crate) async fn fetch(
        &self,
        want: &Want,
        method: Method,
        range: Option<ByteRange>,
    ) -> Fetched {
        let inner = &self.0;
        let range = range.filter(|range| *range != ByteRange::From(0));
        if let Some(small) = inner.smalls.get(want) {
            return Fetched::Small(small);
        }
        if method == Method::Head && want.kind == Kind::Blob {
            return self.head(want).await.unwrap_or(Fetched::Nowhere);
        }
        let flight = inner.turns.flight(&want.digest);
        let turn = flight.turn().await;
        if turn.waited() {
            if let Some(small) = inner.smalls.get(want) {
                return Fetched::Small(small);
            }
            if let Some(own) = inner.stored.open(&want.digest).await {
                return Fetched::Own(own);
            }
        }
        let fetched = self
            .first(want, range, QueuePosition::new(flight, turn))
            .await;
        fetched.unwrap_or(Fetched::Nowhere)
    }

    /// What the head of a blob says. One that may be a manifest is fetched: only its bytes tell what it is, and
    /// who asks for its head asks for it next.
    async fn head(&self, want: &Want) -> Option<Fetched> {
        let inner = &self.0;
        let mut candidates = inner.peers.find(&want.digest).await;
        let size = inner.transfers.size(want, &mut candidates).await?;
        if !fits(size) {
            return Some(Fetched::Size(size));
        }
        let want = &Want {
            size: Some(size),
            ..want.clone()
        };
        let small = inner.smalls.fetch(want, &mut candidates).await;
        small.map(Fetched::Small)
    }

    /// Fetches an object of which no other fetch is in flight.
    async fn first(
        &self,
        want: &Want,
        range: Option<ByteRange>,
        place: QueuePosition,
    ) -> Option<Fetched> {
        let inner = &self.0;
        if want.kind == Kind::Blob && range.is_none() {
            inner.transfers.judge.came_again(&want.digest).await;
        }
        let want = &Want {
            size: want.size.or_else(|| inner.hints.size(&want.digest)),
            ..want.clone()
        };
        if inner.peers.has_crowds()
            && let Some(growing) = self.follow(want, range).await
            && let Some(patience) = self.patience(&growing)
        {
            let start = growing_from(range);
            let want = &Want {
                size: Some(growing.total()),
                ..want.clone()
            };
            let is_small = fits(growing.total());
            let since = Instant::now();
            let joined = inner.peers.join(&growing, start, patience);
            if is_small {
                let small = async { inner.smalls.fetch(want, &mut joined.await?).await };
                let small = small.await;
                if patience == Patience::Brief {
                    inner.peers.waited(since, small.is_some());
                }
                return small.map(Fetched::Small);
            }
            let candidates = joined.await?;
            let begun = inner.transfers.begin(want, range, candidates, place).await;
            return begun.map(Fetched::from);
        }
        let mut candidates = inner.peers.find(&want.digest).await;
        if want.kind == Kind::Manifest || want.size.is_some_and(fits) {
            let small = inner.smalls.fetch(want, &mut candidates).await;
            return small.map(Fetched::Small);
        }
        let begun = inner.transfers.begin(want, range, candidates, place).await;
        begun.map(Fetched::from)
    }

    /// For how long others are waited for that may be getting it too; `None` where they are not, as that wait ran
    /// out just now.
    fn patience(&self, growing: &Growing) -> Option<Patience> {
        if growing.is_manifest() && !fits(growing.total()) {
            return None;
        }
        if growing.is_little() {
            self.0.peers.may_wait().then_some(Patience::Brief)
        } else {
            Some(Patience::Whole)
        }
    }

    /// Follows the blob while containerd fetches it, if peers may fetch it from here meanwhile.
    async fn follow(&self, want: &Want, range: Option<ByteRange>) -> Option<Arc<Growing>> {
        if matches!(range, Some(ByteRange::Between(..) | ByteRange::Last(_))) {
            return None;
        }
        let asked = Asked {
            registry: want.registry.as_deref(),
            repository: &want.repository,
            kind: want.kind,
            start: growing_from(range),
        };
        self.0.content.follow(&want.digest, asked).await
    }

    /// A manifest was given out under the name of `want`: its children will be asked for next.
    pub(crate) fn expect_children(&self, want: &Want, manifest: &[u8]) {
        if let Ok(manifest) = Manifest::parse(manifest) {
            self.expect(want, &manifest.children);
        }
    }

    fn expect(&self, parent: &Want, children: &[Descriptor]) {
        self.0.hints.learn(children);
        self.0.peers.prefetch(children);
        self.0.ahead.begin(parent, children, |want| {
            let fetcher = self.clone();
            async move {
                if !fetcher.has(&want).await {
                    // The fetch has put it into the cache; the result itself is not needed.
                    let _ = fetcher.fetch(&want, Method::Get, None).await;
                }
            }
        });
    }

    /// Whether this node takes part in crowds, and in which it is now.
    pub(crate) fn crowds(&self) -> (bool, Vec<MemberView>) {
        let peers = &self.0.peers;
        (peers.has_crowds(), peers.crowds())
    }

    /// Whether a manifest of this node was not served recently.
    pub(crate) fn is_news(&self, manifest: &Digest) -> bool {
        self.0.hints.is_news(manifest, Instant::now())
    }

    /// A manifest of this node is about to be served. After an interrupted pull its missing
    /// children are requested next, and only the manifest knows their sizes. The manifest waits a
    /// moment for the find.
    pub(crate) async fn expect_missing_children(&self, want: &Want) {
        let _ = tokio::time::timeout(EXPECT_CHILDREN_DEADLINE, self.prepare(want)).await;
    }

    async fn prepare(&self, want: &Want) {
        let content = &self.0.content;
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
            self.expect(want, &children);
        }
    }

    /// Whether this node has the object by now.
    async fn has(&self, want: &Want) -> bool {
        self.0.stored.has(&want.digest).await
    }

    /// Drops connections and objects that were not used for a while, and counts quarantines.
    pub(crate) fn tidy(&self) {
        self.0.opener.tidy();
        self.0.smalls.tidy();
        self.0.peers.tidy();
    }

    /// Uses no idle connection any more: this node has another address, and they have the one before.
    pub(crate) fn renew(&self) {
        self.0.opener.renew();
    }

    /// The active quarantines.
    pub fn quarantines(&self) -> Vec<Quarantine> {
        self.0.peers.quarantines()
    }
}

impl From<Begun> for Fetched {
    fn from(begun: Begun) -> Self {
        match begun {
            Begun::Small(small) => Self::Small(small),
            Begun::Large(transfer) => Self::Large(transfer),
            Begun::Unsatisfiable(size) => Self::Unsatisfiable(size),
        }
    }
}

/// Offset at which the requested bytes begin.
fn growing_from(range: Option<ByteRange>) -> u64 {
    match range {
        Some(ByteRange::From(start)) => start,
        Some(ByteRange::Between(..) | ByteRange::Last(_)) | None => 0,
    }
}
