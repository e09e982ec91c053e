//! The agent's side of the server's API, against a server that plays along or does not.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by it"
)]

mod fake;
mod joins;
mod large;
mod rack;
mod reports;
mod tags;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use daemon::{client::JsonClient, clock::Clock, scope::Scope};
use fake::{Behaviour, Call, FakeServer};
use parking_lot::Mutex;
use pi_agent::{
    discovery::{Discovery, Settings},
    jitter::Jitter,
    reach::Reach,
};
use piccolo_api::{FailureKind, Holder, Key};
use tokio::time::Instant;

struct Agent {
    discovery: Discovery,
    keys: Arc<Mutex<Vec<Key>>>,
    scope: Scope,
}

impl Agent {
    fn new(servers: &[&str]) -> Self {
        let discovery = Discovery::of_servers(Settings {
            client: JsonClient::new(Duration::from_millis(300)),
            mates: JsonClient::new(Duration::from_millis(300)),
            servers: servers.iter().map(|s| (*s).to_owned()).collect(),
            group: "g".to_owned(),
            here: holder("10.0.0.1:7787").into(),
            jitter: Jitter::seeded(1),
            tracker: None,
            reach: Reach::default(),
        });
        let (scope, _) = Scope::new();
        Self {
            discovery,
            keys: Arc::default(),
            scope,
        }
    }

    fn with_keys(self, keys: &[&str]) -> Self {
        *self.keys.lock() = keys.iter().map(|k| key(k)).collect();
        self
    }

    fn start(self) -> Self {
        self.start_with(Jitter::seeded(2))
    }

    fn start_with(self, jitter: Jitter) -> Self {
        let keys = Arc::clone(&self.keys);
        let keys = move || keys.lock().clone();
        self.discovery
            .start(&self.scope, keys, &Clock::system(), jitter);
        self
    }

    /// The set changes, as the content's tracker tells it.
    fn change(&self, added: &[&str], removed: &[&str]) {
        let added: Vec<_> = added.iter().map(|k| key(k)).collect();
        let removed: Vec<_> = removed.iter().map(|k| key(k)).collect();
        let mut keys = self.keys.lock();
        keys.retain(|key| !removed.contains(key));
        keys.extend(added.clone());
        self.discovery.changed(added, removed);
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn holder(text: &str) -> Holder {
    text.parse().unwrap()
}

fn synced(call: &Call) -> Option<piccolo_api::AdvertiseRequest> {
    match call {
        Call::Sync(request) => Some(request.clone()),
        _ => None,
    }
}

fn advertised(call: &Call) -> Option<piccolo_api::AdvertiseRequest> {
    match call {
        Call::Advertise(request) => Some(request.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn one_sync_and_then_numbered_changes() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let agent = Agent::new(&[&url]).with_keys(&["a", "b"]).start();
    let sync = server.wait_for("sync", synced).await;
    assert_eq!(
        (sync.keys.len(), sync.holder.as_str()),
        (2, "10.0.0.1:7787")
    );
    let begin = Instant::now();
    agent
        .discovery
        .failed(holder("10.0.0.9:7787"), FailureKind::Stalled);
    agent.change(&["c"], &["a"]);
    let change = server.wait_for("advertise", advertised).await;
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "advertised within a second"
    );
    assert_eq!(
        (change.keys, change.removed),
        (vec!["c".to_owned()], vec!["a".to_owned()])
    );
    assert_eq!(
        (change.epoch, change.seq),
        (sync.epoch, sync.seq.map(|seq| seq + 1))
    );
    assert_eq!(change.failures.len(), 1);
    let syncs = server.calls().iter().filter_map(synced).count();
    assert_eq!(syncs, 1, "no sync while changes follow each other");
    assert!(agent.discovery.standing().synced);
}

/// The server may have taken it: a number stands for one set for ever.
#[tokio::test]
async fn a_set_without_an_answer_is_sent_with_another_number() {
    let losing = Behaviour {
        losing: 1,
        ..Behaviour::default()
    };
    let (server, url) = FakeServer::start(losing).await;
    let _agent = Agent::new(&[&url]).with_keys(&["a"]).start();
    let first = server.wait_for("sync", synced).await;
    let later = |call: &Call| synced(call).filter(|sync| sync.seq != first.seq);
    let second = server.wait_for("sync with another number", later).await;
    assert_eq!(second.epoch, first.epoch);
    assert!(second.seq > first.seq, "{:?} {:?}", first.seq, second.seq);
}

#[tokio::test]
async fn a_server_that_lost_track_gets_the_whole_set() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let agent = Agent::new(&[&url]).with_keys(&["a"]).start();
    server.wait_for("sync", synced).await;
    server.behaviour.lock().resync = true;
    agent.change(&["b"], &[]);
    let whole = |call: &Call| synced(call).filter(|sync| sync.keys.len() == 2);
    server.wait_for("second sync", whole).await;
}

#[tokio::test]
async fn a_go_server_is_asked_in_its_own_way() {
    let behaviour = Behaviour {
        go: true,
        holders: vec![
            "10.0.0.2:5123".to_owned(),
            "10.0.0.1:7787".to_owned(),
            "junk".to_owned(),
        ],
        ..Behaviour::default()
    };
    let (server, url) = FakeServer::start(behaviour).await;
    let agent = Agent::new(&[&url]).with_keys(&["a", "b"]).start();
    server.wait_for("sync", synced).await;
    let peers = agent
        .discovery
        .find(&key("docker.io/library/redis:7"))
        .await;
    let peers: Vec<_> = peers.iter().map(|peer| peer.addr).collect();
    assert_eq!(
        peers,
        [holder("10.0.0.2:5123")],
        "neither this node nor what is no address"
    );
    agent.change(&[], &["a"]);
    let one_left = |call: &Call| synced(call).filter(|sync| sync.keys == ["b"]);
    server.wait_for("sync after a removal", one_left).await;
}

#[tokio::test]
async fn a_dead_server_costs_one_find_its_deadline_and_no_other_anything() {
    // Nobody answers there: the connection is neither taken nor refused.
    let agent = Agent::new(&["http://192.0.2.1:9"]);
    let begin = Instant::now();
    assert!(agent.discovery.find(&key("a")).await.is_empty());
    assert!(begin.elapsed() < Duration::from_secs(1));
    for _ in 0..20 {
        let begin = Instant::now();
        assert!(agent.discovery.find(&key("a")).await.is_empty());
        assert!(begin.elapsed() < Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_used_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    drop(listener);
    let agent = Agent::new(&[&format!("http://{addr}")])
        .with_keys(&["a"])
        .start();
    assert!(agent.discovery.find(&key("a")).await.is_empty());
    assert!(agent.discovery.servers()[0].breaker_open);
    let behaviour = Behaviour {
        holders: vec!["10.0.0.2:7787".to_owned()],
        ..Behaviour::default()
    };
    let server = FakeServer::start_at(addr, behaviour).await;
    server.wait_for("sync", synced).await;
    assert_eq!(agent.discovery.find(&key("a")).await.len(), 1);
    assert!(!agent.discovery.servers()[0].breaker_open);
}

#[tokio::test]
async fn the_next_instance_answers_for_a_dead_one() {
    let behaviour = Behaviour {
        holders: vec!["10.0.0.2:7787".to_owned()],
        ..Behaviour::default()
    };
    let (_server, url) = FakeServer::start(behaviour).await;
    let agent = Agent::new(&["http://127.0.0.1:1", &url]);
    assert_eq!(agent.discovery.find(&key("a")).await.len(), 1);
    let servers = agent.discovery.servers();
    assert!(
        servers[0].breaker_open && servers[1].preferred,
        "{servers:?}"
    );
    assert_eq!(
        agent.discovery.rack("10.0.0.2".parse().unwrap()).as_deref(),
        Some("r1")
    );
}

#[tokio::test]
async fn the_next_instance_answers_for_a_stopped_one() {
    let behaviour = Behaviour {
        holders: vec!["10.0.0.2:7787".to_owned()],
        ..Behaviour::default()
    };
    let (_server, url) = FakeServer::start(behaviour).await;
    // The kernel takes the connection, and nobody answers.
    let stopped = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = format!("http://{}", stopped.local_addr().unwrap());
    let agent = Agent::new(&[&other, &url]);
    assert_eq!(agent.discovery.find(&key("a")).await.len(), 1);
    assert!(agent.discovery.servers()[0].breaker_open);
}

#[tokio::test]
async fn children_are_found_beforehand() {
    let behaviour = Behaviour {
        holders: vec!["10.0.0.2:7787".to_owned()],
        ..Behaviour::default()
    };
    let (server, url) = FakeServer::start(behaviour).await;
    let agent = Agent::new(&[&url]).start();
    agent.discovery.prefetch(vec![key("x"), key("y")]);
    let both = |call: &Call| (*call == Call::Find(vec!["x".into(), "y".into()])).then_some(());
    server.wait_for("find of both", both).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = server.calls().len();
    assert_eq!(agent.discovery.find(&key("x")).await.len(), 1);
    assert_eq!(agent.discovery.find(&key("y")).await.len(), 1);
    let finds = server.calls().into_iter().skip(before);
    let finds = finds
        .filter(|call| matches!(call, Call::Find(keys) if !keys.is_empty()))
        .count();
    assert_eq!(finds, 0, "answered from memory");
    // A peer that failed is not answered from memory.
    agent
        .discovery
        .failed(holder("10.0.0.2:7787"), FailureKind::Refused);
    agent.discovery.find(&key("x")).await;
    server
        .wait_for("find", |call| {
            (*call == Call::Find(vec!["x".into()])).then_some(())
        })
        .await;
}

#[tokio::test]
async fn it_says_goodbye() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let agent = Agent::new(&[&url]);
    agent.discovery.leave().await;
    let left = |call: &Call| match call {
        Call::Leave(request) => Some(request.host.clone()),
        _ => None,
    };
    assert_eq!(server.wait_for("leave", left).await, "10.0.0.1:7787");
}

#[tokio::test]
async fn agents_started_together_spread_their_syncs() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let keys: Vec<_> = (0..500).map(|n| format!("k{n}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let mut agents = Vec::new();
    for seed in 0..8 {
        let agent = Agent::new(&[&url]).with_keys(&keys);
        agents.push(agent.start_with(Jitter::seeded(seed)));
    }
    let mut arrivals = Vec::new();
    while arrivals.len() < agents.len() {
        let syncs = server.calls().iter().filter_map(synced).count();
        arrivals.resize(syncs.max(arrivals.len()), Instant::now());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // 500 keys make a window of two and a half seconds.
    let spread = arrivals[7] - arrivals[0];
    assert!(spread > Duration::from_millis(500), "all within {spread:?}");
}

#[tokio::test]
async fn a_refused_change_is_told_again_and_not_lost() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let agent = Agent::new(&[&url]).with_keys(&["a"]).start();
    server.wait_for("sync", synced).await;
    server.behaviour.lock().failing = 2;
    agent.change(&["b"], &[]);
    agent.change(&["c"], &["a"]);
    let told = |call: &Call| advertised(call).filter(|change| change.seq == Some(2));
    let change = server.wait_for("advertise", told).await;
    let mut keys = change.keys;
    keys.sort();
    assert_eq!(
        (keys, change.removed),
        (vec!["b".into(), "c".into()], vec!["a".into()])
    );
    assert_eq!(server.calls().iter().filter_map(synced).count(), 1);
}

#[tokio::test]
async fn a_start_does_not_take_away_what_the_server_knows() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let agent = Agent::new(&[&url]).start();
    // containerd takes a moment to list its images.
    tokio::time::sleep(Duration::from_secs(1)).await;
    agent.change(&["a"], &[]);
    let sync = server.wait_for("sync", synced).await;
    assert_eq!(sync.keys, ["a"], "no empty set went before");
}

#[tokio::test]
async fn the_next_instance_is_told_for_a_dead_one() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let agent = Agent::new(&["http://127.0.0.1:1", &url])
        .with_keys(&["a"])
        .start();
    server.wait_for("sync", synced).await;
    agent.change(&["b"], &[]);
    server.wait_for("advertise", advertised).await;
}

/// Where a node counts as dead sooner, it says sooner that it lives.
#[tokio::test]
async fn keepalives_come_as_often_as_the_server_asks_for() {
    let hasty = Behaviour {
        keepalive_ms: Some(1000),
        ..Behaviour::default()
    };
    let (server, url) = FakeServer::start(hasty).await;
    let _agent = Agent::new(&[&url]).with_keys(&["a"]).start();
    let end = Instant::now() + Duration::from_secs(10);
    let keepalives = || {
        let calls = server.calls();
        let keepalives = calls.iter().filter(|c| matches!(c, Call::Keepalive(_)));
        keepalives.count()
    };
    while keepalives() < 2 {
        assert!(Instant::now() < end, "{} keepalives", keepalives());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
