//! A flash crowd as one node sees it: what it serves while it gets it, and whom it is told to ask.

use std::{
    collections::VecDeque, fs, io::Write as _, net::SocketAddr, path::PathBuf, sync::Arc,
    time::Duration,
};

use daemon::scope::{Deaths, Scope};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use pi_agent::{
    content::{Content, manifest::Descriptor},
    digest::Digest,
    fetch::{FetchSettings, Fetcher, Finder, Joined, Parts, Swarm, Verify},
    mirror::{Mirror, MirrorSettings},
    peer::{PeerServer, PeerSettings},
    policy::Policy,
    sockets::{PeerBytes, PeerSockets, Unwatched},
};
use piccolo_api::{
    End, FailureKind, Fault, Fetch, Holder, Peer, Progress, Source, Standing, Turn, Verdict,
};
use tokio::net::TcpListener;

use crate::{
    bed::{Judge, blob_path, digest, object, settings},
    client::{self, Reply, request},
};

/// What the server would say, one answer after the other, and what it was told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script(pub(crate) Arc<Mutex<Said>>);

#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) turns: VecDeque<Verdict>,
    pub(crate) joins: Vec<Fetch>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) standing: Option<Standing>,
    /// Who has all of it, where there is no crowd.
    pub(crate) peers: Vec<Peer>,
    /// Which of the joins nobody hears.
    pub(crate) unheard: Vec<usize>,
}

impl Finder for Script {
    fn find<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Vec<Peer>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn prefetch(&self, _: &[Descriptor]) {}

    fn failed(&self, _: Holder, _: FailureKind) {}

    fn join<'a>(&'a self, _: &'a Digest, fetch: Fetch) -> BoxFuture<'a, Joined> {
        let mut said = self.0.lock();
        let is_heard = !said.unheard.contains(&said.joins.len());
        said.joins.push(fetch);
        let verdict = said.turns.pop_front();
        let turn = verdict.map(|verdict| Turn {
            rank: None,
            verdict,
        });
        Box::pin(std::future::ready(Joined {
            peers: said.peers.clone(),
            turn,
            is_heard,
        }))
    }

    fn progress(&self, progress: Progress) -> BoxFuture<'_, Option<Standing>> {
        let mut said = self.0.lock();
        said.progress.push(progress);
        Box::pin(std::future::ready(said.standing))
    }
}

/// A node whose containerd is the test.
pub(crate) struct Node {
    pub(crate) mirror: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) script: Script,
    pub(crate) fetcher: Fetcher,
    pub(crate) verdicts: Judge,
    root: tempfile::TempDir,
    _scope: Scope,
    _deaths: Deaths,
}

pub(crate) fn permit() -> Verdict {
    Verdict::Permit { lease_ms: 3000 }
}

pub(crate) fn take(from: &Node) -> Verdict {
    take_from(from.peer)
}

pub(crate) fn take_from(peer: SocketAddr) -> Verdict {
    take_from_all(&[peer], None)
}

pub(crate) fn take_complete(peer: SocketAddr) -> Verdict {
    Verdict::Take {
        sources: vec![Source {
            addr: Holder::new(peer).unwrap(),
            rack: "r".to_owned(),
            bytes: 0,
            complete: true,
        }],
        again_ms: None,
    }
}

pub(crate) fn take_from_all(peers: &[SocketAddr], again_ms: Option<u32>) -> Verdict {
    let source = |peer: &SocketAddr| Source {
        addr: Holder::new(*peer).unwrap(),
        rack: "r".to_owned(),
        bytes: 0,
        complete: false,
    };
    Verdict::Take {
        sources: peers.iter().map(source).collect(),
        again_ms,
    }
}

impl Node {
    pub(crate) async fn start(turns: Vec<Verdict>) -> Self {
        Self::with(turns, Verify::Small).await
    }

    pub(crate) async fn with(turns: Vec<Verdict>, verify: Verify) -> Self {
        let settings = FetchSettings {
            verify,
            ..settings()
        };
        Self::with_settings(turns, settings).await
    }

    pub(crate) async fn with_settings(turns: Vec<Verdict>, settings: FetchSettings) -> Self {
        Self::with_policy(turns, settings, Policy::default()).await
    }

    pub(crate) async fn with_policy(
        turns: Vec<Verdict>,
        settings: FetchSettings,
        policy: Policy,
    ) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("blobs/sha256")).unwrap();
        fs::create_dir_all(root.path().join("ingest")).unwrap();
        let (scope, deaths) = Scope::new();
        let content = Content::with_policy(root.path().to_owned(), policy);
        content.follow_growth(&scope);
        let script = Script::default();
        script.0.lock().turns = turns.into();
        let verdicts = Judge::default();
        let sockets = PeerSockets::new(PeerBytes::default(), Arc::new(Unwatched));
        let parts = Parts {
            content: content.clone(),
            finder: Box::new(script.clone()),
            verdicts: Box::new(verdicts.clone()),
            sockets: sockets.clone(),
            scope: scope.clone(),
        };
        let settings = FetchSettings {
            swarm: Swarm::On,
            ..settings
        };
        let fetcher = Fetcher::new(parts, &settings);
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (to_mirror, to_peer) = (listen().await, listen().await);
        let (mirror, peer) = (
            to_mirror.local_addr().unwrap(),
            to_peer.local_addr().unwrap(),
        );
        let serving = Mirror::new(content.clone(), fetcher.clone(), MirrorSettings::default());
        scope.service("mirror", serving.serve(to_mirror, scope.clone()));
        let peers = PeerServer::new(content, sockets, PeerSettings::default());
        scope.service("peers", peers.serve(to_peer, scope.clone()));
        Self {
            mirror,
            peer,
            script,
            fetcher,
            verdicts,
            root,
            _scope: scope,
            _deaths: deaths,
        }
    }

    /// containerd begins to pull a layer.
    pub(crate) fn begin(&self, layer: &[u8]) -> Ingest {
        let digest = digest(layer);
        let directory = self.root.path().join("ingest").join(&digest.hex()[..8]);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("ref"), format!("k8s.io/1/layer-{digest}")).unwrap();
        fs::write(directory.join("total"), layer.len().to_string()).unwrap();
        fs::write(directory.join("data"), "").unwrap();
        let blob = self.root.path().join("blobs/sha256").join(digest.hex());
        Ingest { directory, blob }
    }

    pub(crate) async fn ask(&self, layer: &[u8], fields: &str) -> Reply {
        request(self.mirror, "GET", &blob_path(layer), fields).await
    }

    /// What it has told the server, once it is as wanted.
    pub(crate) async fn told(&self, is_wanted: impl Fn(&Progress) -> bool) -> Progress {
        let told = async {
            loop {
                let progress = self.script.0.lock().progress.clone();
                if let Some(progress) = progress.into_iter().find(|p| is_wanted(p)) {
                    return progress;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(10), told).await;
        told.expect("the server is not told")
    }
}

pub(crate) struct Ingest {
    directory: PathBuf,
    blob: PathBuf,
}

impl Ingest {
    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut options = fs::OpenOptions::new();
        let data = options.append(true).open(self.directory.join("data"));
        data.unwrap().write_all(bytes).unwrap();
    }

    pub(crate) fn commit(self) {
        fs::rename(self.directory.join("data"), &self.blob).unwrap();
        fs::remove_dir_all(&self.directory).unwrap();
    }

    pub(crate) fn give_up(self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

#[tokio::test]
async fn what_the_registry_gives_one_node_goes_on_to_the_next_as_it_comes() {
    let layer = object(9 << 20, 71);
    let first = Node::start(vec![permit()]).await;
    let ingest = first.begin(&layer);
    // Its containerd is sent to the registry, which the test is, too.
    assert_eq!(first.ask(&layer, "").await.status, 404);
    let second = Node::start(vec![take(&first)]).await;
    let _ingest = second.begin(&layer);
    let feeding = async {
        for part in layer.chunks(1 << 20) {
            ingest.write(part);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ingest.commit();
    };
    let (reply, ()) = tokio::join!(second.ask(&layer, ""), feeding);
    assert_eq!((reply.status, reply.end), (200, client::End::Complete));
    assert!(reply.body == layer, "other bytes");
    let told = first.told(|p| p.end.is_some()).await;
    assert_eq!(told.end, Some(End::Complete));
    let first_byte = first.told(|p| p.permit && p.bytes > 0).await;
    assert_eq!(first_byte.key, digest(&layer).as_str());
}

#[tokio::test]
async fn a_first_range_is_answered_with_the_whole_as_one_stream() {
    let layer = object(9 << 20, 72);
    let first = Node::start(vec![permit()]).await;
    let ingest = first.begin(&layer);
    first.ask(&layer, "").await;
    ingest.write(&layer);
    let second = Node::start(vec![take(&first)]).await;
    let _ingest = second.begin(&layer);
    let reply = second.ask(&layer, "Range: bytes=0-\r\n").await;
    assert_eq!(reply.status, 200);
    assert!(reply.body == layer, "other bytes");
}

#[tokio::test]
async fn a_given_up_source_is_named_until_somebody_heard_of_it() {
    let layer = object(2 << 20, 74);
    let first = Node::start(vec![permit()]).await;
    let wait = Verdict::Wait { wait_ms: 10 };
    // It has no byte of the layer, and then the server is busy twice.
    let turns = vec![take(&first), wait.clone(), wait.clone(), wait, permit()];
    let second = Node::start(turns).await;
    second.script.0.lock().unheard = vec![1, 2];
    let _growing = second.begin(&layer);
    assert_eq!(second.ask(&layer, "").await.status, 404);
    let said = second.script.0.lock();
    let tried: Vec<_> = said.joins.iter().map(|join| join.tried.len()).collect();
    assert_eq!(tried, [0, 1, 1, 1, 0]);
    assert_eq!(said.joins[3].tried[0].source.addr(), first.peer);
}

#[tokio::test]
async fn a_source_that_gives_up_leaves_the_rest_to_the_registry_at_the_same_byte() {
    let layer = object(9 << 20, 73);
    let first = Node::start(vec![permit()]).await;
    let ingest = first.begin(&layer);
    first.ask(&layer, "").await;
    ingest.write(&layer[..3 << 20]);
    let second = Node::start(vec![take(&first), permit(), permit()]).await;
    let growing = second.begin(&layer);
    let fate = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ingest.give_up();
    };
    let (reply, ()) = tokio::join!(second.ask(&layer, ""), fate);
    assert_eq!((reply.status, reply.end), (200, client::End::Fin));
    assert!(reply.body == layer[..3 << 20], "other bytes");
    growing.write(&reply.body);
    let rest = second.ask(&layer, "Range: bytes=3145728-\r\n").await;
    assert_eq!(rest.status, 404, "the registry is next");
    let said = second.script.0.lock();
    let tried = &said.joins[1].tried;
    assert_eq!((said.joins[1].offset, tried.len()), (3 << 20, 1));
    assert_eq!(tried[0].source.addr(), first.peer);
    assert_eq!(tried[0].fault, Fault::Empty);
}

#[tokio::test]
async fn who_lost_its_permit_feeds_nobody_any_more() {
    let layer = object(9 << 20, 74);
    let first = Node::start(vec![permit()]).await;
    first.script.0.lock().standing = Some(Standing::Lost);
    let ingest = first.begin(&layer);
    first.ask(&layer, "").await;
    ingest.write(&layer[..1 << 20]);
    first.told(|p| p.permit && p.bytes > 0).await;
    let withdrawn = async {
        loop {
            let reply = request(first.peer, "GET", &blob_path(&layer), "").await;
            if reply.status == 404 {
                return;
            }
            assert!(reply.body.len() <= 1 << 20);
        }
    };
    let withdrawn = tokio::time::timeout(Duration::from_secs(10), withdrawn).await;
    withdrawn.expect("peers are still fed");
}

#[tokio::test]
async fn a_node_that_is_told_to_wait_asks_again_and_not_for_ever() {
    let layer = object(9 << 20, 75);
    let first = Node::start(vec![permit()]).await;
    let ingest = first.begin(&layer);
    first.ask(&layer, "").await;
    ingest.write(&layer);
    let wait = Verdict::Wait { wait_ms: 50 };
    let second = Node::start(vec![wait.clone(), wait, take(&first)]).await;
    let _ingest = second.begin(&layer);
    assert!(second.ask(&layer, "").await.body == layer, "other bytes");
    let long = Verdict::Wait { wait_ms: 60_000 };
    let third = Node::start(vec![long]).await;
    let _ingest = third.begin(&layer);
    assert_eq!(third.ask(&layer, "").await.status, 404);
}
