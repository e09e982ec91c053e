//! Nodes of a rack that coordinate while no server answers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use daemon::{
    client::JsonClient,
    clock::Clock,
    scope::Scope,
    tls::{self, Agents, Files, Mode, Role, Tls},
};
use pi_agent::{
    content::Content,
    digest::Digest,
    discovery::{Discovery, Settings},
    fetch::Finder,
    jitter::Jitter,
    peer::{PeerServer, PeerSettings},
    reach::Reach,
    sockets::{PeerBytes, PeerSockets, Unwatched},
    tracker::Tracker,
};
use piccolo_api::{Fetch, Holder, Standing, Verdict};
use testbed::Authority;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    Behaviour, FakeServer,
    joins::{digests, progress},
};

/// An agent that serves its peers.
struct Node {
    discovery: Discovery,
    holder: Holder,
    scope: Scope,
    _root: tempfile::TempDir,
}

impl Node {
    fn reaching(listener: TcpListener, server: &str, seed: u64, reach: Reach) -> Self {
        Self::showing(listener, server, seed, reach, &Tls::default())
    }

    fn showing(listener: TcpListener, server: &str, seed: u64, reach: Reach, tls: &Tls) -> Self {
        let holder = Holder::new(listener.local_addr().unwrap()).unwrap();
        let tracker = Tracker::new(Clock::system());
        let (scope, _deaths) = Scope::new();
        let root = tempfile::tempdir().unwrap();
        let sockets = PeerSockets::new(PeerBytes::default(), Arc::new(Unwatched));
        let peers = PeerServer::with(
            Content::new(root.path().to_owned()),
            sockets,
            PeerSettings {
                agents: Agents::new(tls, "g"),
                ..PeerSettings::default()
            },
            Some(tracker.clone()),
        );
        scope.service("peers", peers.serve(listener, scope.clone()));
        let discovery = Discovery::of_servers(Settings {
            client: JsonClient::new(Duration::from_millis(300)),
            mates: JsonClient::of(
                tls::Peer {
                    tls: tls.clone(),
                    role: Some(Role::Agent),
                    group: Some("g".to_owned()),
                },
                Duration::from_millis(300),
                4,
            ),
            servers: vec![server.to_owned()],
            group: "g".to_owned(),
            here: holder.into(),
            jitter: Jitter::seeded(seed),
            tracker: Some(tracker),
            reach,
        });
        let clock = Clock::system();
        discovery.start(&scope, Vec::new, &clock, Jitter::seeded(seed + 10));
        Self {
            discovery,
            holder,
            scope,
            _root: root,
        }
    }

    /// What it is to do about a blob, once it need not wait any more.
    async fn join(&self, digest: &Digest) -> Option<Verdict> {
        for _ in 0..300 {
            let joined = Finder::join(&self.discovery, digest, Fetch::default()).await;
            match joined.turn?.verdict {
                Verdict::Wait { .. } => tokio::time::sleep(Duration::from_millis(10)).await,
                verdict => return Some(verdict),
            }
        }
        panic!("{digest} is waited for without end");
    }
}

/// Nodes that know each other, whose server is away then.
async fn rack(count: u64) -> (Vec<Node>, FakeServer) {
    let plain: Vec<_> = (0..count).map(|_| Tls::default()).collect();
    rack_of(&plain).await
}

/// The same, each of which shows who it is in its way.
async fn rack_of(shown: &[Tls]) -> (Vec<Node>, FakeServer) {
    let mut listeners = Vec::new();
    for _ in shown {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let holder = |listener: &TcpListener| Holder::new(listener.local_addr().unwrap()).unwrap();
    let behaviour = Behaviour {
        rack: listeners.iter().map(holder).collect(),
        ..Behaviour::default()
    };
    let (server, url) = FakeServer::start(behaviour).await;
    let mut nodes = Vec::new();
    for ((listener, tls), seed) in listeners.into_iter().zip(shown).zip(1..) {
        nodes.push(Node::showing(listener, &url, seed, Reach::default(), tls));
    }
    for node in &nodes {
        for _ in 0..1000 {
            if node.discovery.rack_mates() == nodes.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(node.discovery.rack_mates(), nodes.len());
    }
    server.behaviour.lock().away = true;
    (nodes, server)
}

/// The server was told so by a caller, and calls would go there.
#[tokio::test]
async fn who_is_named_where_no_node_is_does_not_decide() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = Holder::new(listener.local_addr().unwrap()).unwrap();
    let named = ["169.254.169.254:80", "10.96.0.1:443", "127.0.0.9:7787"];
    let named = named.iter().map(|holder| holder.parse().unwrap());
    let behaviour = Behaviour {
        rack: named.chain([own]).collect(),
        ..Behaviour::default()
    };
    let (_server, url) = FakeServer::start(behaviour).await;
    let cidrs = vec!["127.0.0.0/8".parse().unwrap()];
    let node = Node::reaching(listener, &url, 1, Reach::new(own.ip(), cidrs));
    for _ in 0..1000 {
        if node.discovery.rack_mates() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.discovery.rack_mates(), 2);
}

/// Has all nodes ask for a blob: how many may ask the registry, and whom the others take it from.
async fn sources(nodes: &[Node], digest: &Digest) -> (usize, Vec<SocketAddr>) {
    let mut verdicts = Vec::new();
    for node in nodes {
        verdicts.push(node.join(digest).await);
    }
    let permits = verdicts
        .iter()
        .filter(|verdict| matches!(verdict, Some(Verdict::Permit { .. })));
    let sources = verdicts.iter().filter_map(|verdict| match verdict {
        Some(Verdict::Take { sources, .. }) => Some(sources[0].addr.addr()),
        _ => None,
    });
    (permits.count(), sources.collect())
}

#[tokio::test]
async fn one_node_of_a_rack_asks_the_registry_while_the_server_is_away() {
    let (nodes, _server) = rack(4).await;
    for digest in digests() {
        let (permits, sources) = sources(&nodes, &digest).await;
        assert_eq!((permits, sources.len()), (1, 3), "{sources:?}");
        // The first one goes, and each next takes from the one before.
        let before: Vec<_> = nodes.iter().map(|node| node.holder.addr()).collect();
        assert_eq!(sources, before[..3]);
        let progress = progress(&digest);
        let told = Finder::progress(&nodes[0].discovery, progress.clone()).await;
        assert_eq!(told, Some(Standing::Permit));
        let other = Finder::progress(&nodes[1].discovery, progress).await;
        assert_eq!(other, Some(Standing::Lost), "it holds none");
    }
}

#[tokio::test]
async fn the_others_go_on_when_one_of_the_rack_is_gone() {
    let (mut nodes, _server) = rack(3).await;
    let gone = nodes.pop().unwrap();
    gone.scope.drain();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for digest in digests() {
        let (permits, sources) = sources(&nodes, &digest).await;
        assert_eq!((permits, sources.len()), (1, 1), "{sources:?}");
    }
}

#[tokio::test]
async fn a_node_without_mates_asks_the_registry_at_once() {
    let (nodes, _server) = rack(1).await;
    let digest = &digests()[0];
    let joined = Finder::join(&nodes[0].discovery, digest, Fetch::default()).await;
    assert!(joined.turn.is_none() && joined.peers.is_empty());
}

/// By a certificate of an agent of that group.
fn certified(authority: &Authority, group: &str) -> Tls {
    let uri = format!("spiffe://c/piccolo/agent/{group}/n");
    let own = authority.identify(group, &uri, &["127.0.0.1".parse().unwrap()]);
    let own = own.unwrap();
    let files = Files {
        certificate: own.certificate,
        key: own.key,
        authorities: authority.certificate(),
        seen: None,
    };
    Tls::load(Mode::Required, Some(files), &[Role::Agent], Clock::system()).unwrap()
}

#[tokio::test]
async fn a_rack_decides_over_tls_and_a_node_of_another_group_has_no_say() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::within(directory.path()).unwrap();
    let own = certified(&authority, "g");
    let (nodes, _server) = rack_of(&[own.clone(), own.clone(), own.clone()]).await;
    for digest in digests() {
        let (permits, sources) = sources(&nodes, &digest).await;
        assert_eq!((permits, sources.len()), (1, 2), "{sources:?}");
    }
    // Who is not of the group, or plain, is neither asked nor told: each decides by itself.
    let other = certified(&authority, "other");
    for stranger in [other, Tls::default()] {
        let (nodes, _server) = rack_of(&[own.clone(), stranger]).await;
        for digest in digests() {
            let (permits, sources) = sources(&nodes, &digest).await;
            assert_eq!((permits, sources.len()), (2, 0), "{sources:?}");
        }
    }
}

/// In a crowd a node may be slow to answer once, and others do not think that it is gone.
#[tokio::test]
async fn one_that_does_not_answer_once_is_asked_again() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let named = Holder::new(deaf.local_addr().unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = Holder::new(listener.local_addr().unwrap()).unwrap();
    let behaviour = Behaviour {
        rack: vec![named, own],
        ..Behaviour::default()
    };
    let (server, url) = FakeServer::start(behaviour).await;
    let node = Node::reaching(listener, &url, 1, Reach::default());
    for _ in 0..1000 {
        if node.discovery.rack_mates() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.behaviour.lock().away = true;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    node.scope.service("deaf", async move {
        let mut held = Vec::new();
        loop {
            let (mut connection, _) = deaf.accept().await.unwrap();
            if count.fetch_add(1, Ordering::Relaxed) > 0 {
                let mut head = [0; 2048];
                let _ = connection.read(&mut head).await.unwrap();
                let body = r#"{"Group":"g","results":[{"key":"k","peers":[],"swarm":{"verdict":"take","sources":[{"addr":"10.0.0.9:1","rack":"r","bytes":0,"complete":true}]}}]}"#;
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                connection.write_all(head.as_bytes()).await.unwrap();
            }
            held.push(connection);
        }
    });
    // Some are decided by that node, and others by this one.
    for digest in digests() {
        let before = asked.load(Ordering::Relaxed);
        let verdict = node.join(&digest).await;
        if asked.load(Ordering::Relaxed) > before {
            let Some(Verdict::Take { sources, .. }) = verdict else {
                panic!("{verdict:?}");
            };
            assert_eq!(sources[0].addr.to_string(), "10.0.0.9:1");
        }
    }
    assert!(asked.load(Ordering::Relaxed) >= 2);
}
