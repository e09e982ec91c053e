//! A mirror whose peers the test chooses.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use daemon::scope::{Deaths, Scope};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use pi_agent::{
    content::{
        Content,
        manifest::Descriptor,
        verdict::{Verdict, Verdicts, Watch},
    },
    datapath::RateFloor,
    digest::Digest,
    fetch::{FetchSettings, Fetcher, Finder, Parts, Quarantine, Verify},
    mirror::{Mirror, MirrorSettings},
    peer::{PeerServer, PeerSettings},
    policy::Policy,
    sockets::{PeerBytes, PeerSockets, SocketWatch, Unwatched},
    tags::Openness,
};
use piccolo_api::{FailureKind, Holder, Peer};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};

use crate::client::{End, Reply, request};

/// A mirror on a content store of its own.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) mirror: SocketAddr,
    pub(crate) fetcher: Fetcher,
    pub(crate) bytes: PeerBytes,
    pub(crate) known: Known,
    pub(crate) verdicts: Judge,
    pub(crate) store: Store,
    pub(crate) scope: Scope,
    _deaths: Deaths,
}

/// A content store on disk.
#[derive(Debug)]
pub(crate) struct Store(TempDir);

/// Whom discovery names, and what it was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    peers: Arc<Mutex<Vec<Peer>>>,
    pub(crate) failures: Arc<Mutex<Vec<(Holder, FailureKind)>>>,
    pub(crate) prefetched: Arc<Mutex<Vec<Digest>>>,
}

/// containerd's verdict, which the test decides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Judge {
    watching: Arc<AtomicBool>,
    verdict: watch::Sender<Option<Verdict>>,
}

/// What a pull came to.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// The bytes, from any source.
    pub(crate) body: Vec<u8>,
    /// How many of them the registry had to give.
    pub(crate) from_registry: usize,
    pub(crate) took: Duration,
}

impl Finder for Known {
    fn find<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Vec<Peer>> {
        let peers = self.peers.lock().clone();
        Box::pin(std::future::ready(peers))
    }

    fn prefetch(&self, children: &[Descriptor]) {
        let digests = children.iter().map(|c| c.digest.clone());
        self.prefetched.lock().extend(digests);
    }

    fn failed(&self, peer: Holder, kind: FailureKind) {
        self.failures.lock().push((peer, kind));
    }
}

impl Known {
    pub(crate) fn set(&self, peers: Vec<Peer>) {
        *self.peers.lock() = peers;
    }

    pub(crate) fn kinds(&self) -> Vec<FailureKind> {
        self.failures.lock().iter().map(|(_, kind)| *kind).collect()
    }
}

impl Judge {
    /// From now on containerd's verdict can be seen, once it is given.
    pub(crate) fn watch(&self) {
        self.watching.store(true, Ordering::SeqCst);
    }

    /// containerd gives its verdict on all that it was given.
    pub(crate) fn give(&self, verdict: Verdict) {
        self.verdict.send_replace(Some(verdict));
    }
}

impl Verdicts for Judge {
    fn watch<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Option<Box<dyn Watch>>> {
        let watching = self.watching.load(Ordering::SeqCst);
        let watch = watching.then(|| -> Box<dyn Watch> { Box::new(self.clone()) });
        Box::pin(std::future::ready(watch))
    }
}

impl Watch for Judge {
    fn verdict(self: Box<Self>) -> BoxFuture<'static, Verdict> {
        Box::pin(async move {
            let mut verdicts = self.verdict.subscribe();
            let given = verdicts.wait_for(Option::is_some).await;
            given.ok().and_then(|v| *v).unwrap_or(Verdict::Unknown)
        })
    }
}

impl Store {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        Self(dir)
    }

    /// Puts an object where containerd would.
    pub(crate) fn put(&self, object: &[u8]) {
        std::fs::write(self.path(object), object).unwrap();
    }

    /// Puts an object under a digest of another algorithm than the usual one.
    pub(crate) fn put_as(&self, algorithm: &str, hex: &str, object: &[u8]) {
        let directory = self.0.path().join("blobs").join(algorithm);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(hex), object).unwrap();
    }

    /// Where an object lies.
    pub(crate) fn path(&self, object: &[u8]) -> PathBuf {
        self.0
            .path()
            .join("blobs/sha256")
            .join(digest(object).hex())
    }

    pub(crate) fn content(&self) -> Content {
        self.content_of(Policy::default())
    }

    pub(crate) fn content_of(&self, policy: Policy) -> Content {
        Content::with_policy(self.0.path().to_owned(), policy)
    }
}

impl Bed {
    /// A mirror with short deadlines that hashes nothing large.
    pub(crate) async fn start(peers: Vec<Peer>) -> Self {
        Self::with(peers, settings()).await
    }

    pub(crate) async fn with(peers: Vec<Peer>, settings: FetchSettings) -> Self {
        Self::watched(peers, settings, Arc::new(Unwatched)).await
    }

    /// A mirror whose connections with peers are shown to `watch`.
    pub(crate) async fn watched(
        peers: Vec<Peer>,
        settings: FetchSettings,
        watch: Arc<dyn SocketWatch>,
    ) -> Self {
        Self::of_policy(peers, settings, watch, (Policy::default(), None)).await
    }

    /// A mirror for which some images are private.
    pub(crate) async fn private(peers: Vec<Peer>, policy: Policy) -> Self {
        Self::of_policy(peers, settings(), Arc::new(Unwatched), (policy, None)).await
    }

    /// A mirror that asks registries whether images are.
    pub(crate) async fn asking(peers: Vec<Peer>, policy: Policy, openness: Openness) -> Self {
        let policy = (policy, Some(openness));
        Self::of_policy(peers, settings(), Arc::new(Unwatched), policy).await
    }

    async fn of_policy(
        peers: Vec<Peer>,
        settings: FetchSettings,
        watch: Arc<dyn SocketWatch>,
        (policy, openness): (Policy, Option<Openness>),
    ) -> Self {
        let store = Store::new();
        let known = Known::default();
        known.set(peers);
        let verdicts = Judge::default();
        let bytes = PeerBytes::default();
        let (scope, deaths) = Scope::new();
        let parts = Parts {
            content: store.content_of(policy.clone()),
            finder: Box::new(known.clone()),
            verdicts: Box::new(verdicts.clone()),
            sockets: PeerSockets::new(bytes.clone(), watch),
            scope: scope.clone(),
        };
        let fetcher = Fetcher::new(parts, &settings);
        let content = store.content_of(policy);
        let settings = MirrorSettings {
            openness,
            ..MirrorSettings::default()
        };
        let mirror = Mirror::new(content, fetcher.clone(), settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        scope.service("mirror", mirror.serve(listener, scope.clone()));
        Self {
            mirror: addr,
            fetcher,
            bytes,
            known,
            verdicts,
            store,
            scope,
            _deaths: deaths,
        }
    }

    pub(crate) async fn get(&self, path: &str, fields: &str) -> Reply {
        request(self.mirror, "GET", path, fields).await
    }

    /// Waits until peers were put into as many quarantines.
    pub(crate) async fn quarantines(&self, count: usize) -> Vec<Quarantine> {
        let all = async {
            loop {
                let quarantines = self.fetcher.quarantines();
                if quarantines.len() >= count {
                    return quarantines;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let all = tokio::time::timeout(Duration::from_secs(10), all).await;
        all.expect("a quarantine does not begin")
    }

    /// Pulls a blob as containerd does: on with the rest where a reply ends early, and to the
    /// registry with what the mirror does not have.
    pub(crate) async fn pull(&self, object: &[u8]) -> Pulled {
        let begin = std::time::Instant::now();
        let path = blob_path(object);
        let mut body: Vec<u8> = Vec::new();
        let mut from_registry = 0;
        while body.len() < object.len() {
            let fields = match body.len() {
                0 => String::new(),
                at => format!("Range: bytes={at}-\r\n"),
            };
            let reply = self.get(&path, &fields).await;
            match reply.status {
                200 | 206 => {
                    assert_eq!(reply.status == 206, !body.is_empty());
                    assert_ne!(reply.end, End::Rst, "containerd fails a pull upon RST");
                    body.extend_from_slice(&reply.body);
                }
                404 => {
                    from_registry = object.len() - body.len();
                    body.extend_from_slice(&object[body.len()..]);
                }
                status => panic!("status {status} makes containerd wait or fail"),
            }
        }
        Pulled {
            body,
            from_registry,
            took: begin.elapsed(),
        }
    }
}

/// A good agent: a peer listener on a content store with these objects.
pub(crate) async fn agent(
    objects: &[&[u8]],
    settings: PeerSettings,
    scope: &Scope,
) -> (Store, SocketAddr, PeerBytes) {
    watched_agent(objects, settings, scope, Arc::new(Unwatched)).await
}

/// The same, with its connections shown to `watch`.
pub(crate) async fn watched_agent(
    objects: &[&[u8]],
    settings: PeerSettings,
    scope: &Scope,
    watch: Arc<dyn SocketWatch>,
) -> (Store, SocketAddr, PeerBytes) {
    let store = Store::new();
    for object in objects {
        store.put(object);
    }
    let bytes = PeerBytes::default();
    let sockets = PeerSockets::new(bytes.clone(), watch);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = PeerServer::new(store.content(), sockets, settings);
    scope.service("peers", server.serve(listener, scope.clone()));
    (store, addr, bytes)
}

/// Deadlines that tests can wait for.
pub(crate) fn settings() -> FetchSettings {
    FetchSettings {
        first_byte: Duration::from_millis(600),
        floor: RateFloor {
            bytes: 64 << 10,
            window: Duration::from_millis(600),
        },
        verify: Verify::Small,
        ..FetchSettings::default()
    }
}

/// Bytes that differ from place to place.
pub(crate) fn object(size: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed).wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..size)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}

pub(crate) fn digest(object: &[u8]) -> Digest {
    let hex = hex::encode(Sha256::digest(object));
    format!("sha256:{hex}").parse().unwrap()
}

pub(crate) fn blob_path(object: &[u8]) -> String {
    format!("/v2/lib/a/blobs/{}?ns=registry.test%3A5000", digest(object))
}

pub(crate) fn manifest_path(object: &[u8]) -> String {
    format!(
        "/v2/lib/a/manifests/{}?ns=registry.test%3A5000",
        digest(object)
    )
}
