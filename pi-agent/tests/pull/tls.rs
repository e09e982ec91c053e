//! Pulls from peers that show who they are, and from those that do not.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU64,
    time::{Duration, Instant},
};

use daemon::{
    clock::Clock,
    tls::{Agents, Files, Mode, Role, Tls, Uncounted},
};
use pi_agent::{
    datapath::Pace,
    fetch::{FetchSettings, Verify},
    peer::PeerSettings,
};
use piccolo_api::FailureKind;
use tempfile::TempDir;
use testbed::{Authority, Subject};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::{
    bed::{Bed, Store, agent, blob_path, manifest_path, object, settings},
    between::{Between, Harm},
    counted::Counted,
    serving::{manifest, peer},
};

pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
pub(crate) const NODE: &str = "spiffe://c/piccolo/agent/g/n";
const ALL: &[Role] = &[Role::Agent, Role::Server, Role::Operator, Role::Reader];
pub(crate) const WEEK: Duration = Duration::from_hours(7 * 24);

/// An authority, and how agents speak that it certifies.
pub(crate) struct Cluster {
    _directory: TempDir,
    authority: Authority,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::within(directory.path()).unwrap();
        Self {
            _directory: directory,
            authority,
        }
    }

    pub(crate) fn files(&self, uri: &str, address: IpAddr, lasts: Duration) -> Files {
        let subject = Subject {
            file: &format!("node{}", uri.len() + usize::from(address == HERE)),
            host: None,
            uri: Some(uri),
            addresses: &[address],
            lasts,
        };
        let issued = self.authority.issue(&subject).unwrap();
        Files {
            certificate: issued.certificate,
            key: issued.key,
            authorities: self.authority.certificate(),
            seen: None,
        }
    }

    /// By a certificate of this authority.
    fn by(&self, mode: Mode, uri: &str, address: IpAddr) -> Agents {
        agents(mode, self.files(uri, address, WEEK), Clock::system())
    }

    pub(crate) fn node(&self, mode: Mode) -> Agents {
        self.by(mode, NODE, HERE)
    }

    /// By a certificate of another authority, which trusts this one.
    fn foreign(&self) -> Agents {
        let other = Self::new();
        let files = Files {
            authorities: self.authority.certificate(),
            ..other.files(NODE, HERE, WEEK)
        };
        agents(Mode::Required, files, Clock::system())
    }

    /// By a certificate that expired since it was loaded.
    fn expired(&self) -> Agents {
        let lasts = Duration::from_millis(1500);
        let loaded = agents(
            Mode::Required,
            self.files(NODE, HERE, lasts),
            Clock::system(),
        );
        std::thread::sleep(lasts);
        loaded
    }

    /// Each with why it does not count for another node of the group, as it is counted.
    fn wrong(&self) -> Vec<(&'static str, Agents)> {
        let by = |uri, address| self.by(Mode::Required, uri, address);
        vec![
            ("untrusted", self.foreign()),
            ("expired", self.expired()),
            ("address", by(NODE, ELSEWHERE)),
            ("group", by("spiffe://c/piccolo/agent/other/n", HERE)),
            ("role", by("spiffe://c/piccolo/server/s", HERE)),
        ]
    }
}

pub(crate) fn agents(mode: Mode, files: Files, clock: Clock) -> Agents {
    Agents::new(&Tls::load(mode, Some(files), ALL, clock).unwrap(), "g")
}

pub(crate) fn pulling(agents: &Agents) -> FetchSettings {
    FetchSettings {
        agents: agents.clone(),
        ..settings()
    }
}

pub(crate) fn serving(agents: &Agents) -> PeerSettings {
    PeerSettings {
        agents: agents.clone(),
        ..PeerSettings::default()
    }
}

pub(crate) async fn served(bed: &Bed, object: &[u8], agents: &Agents) -> (Store, SocketAddr) {
    let (store, addr, _) = agent(&[object], serving(agents), &bed.scope).await;
    (store, addr)
}

#[tokio::test]
async fn an_image_comes_encrypted_and_every_byte_is_counted() {
    let counted = Counted::begin();
    let cluster = Cluster::new();
    let node = cluster.node(Mode::Required);
    let layer = object((9 << 20) + 77, 1);
    let config = object(700, 2);
    let image = manifest(&[&config, &layer]);
    for verify in [Verify::Small, Verify::Auto, Verify::Always] {
        let settings = FetchSettings {
            verify,
            ..pulling(&node)
        };
        let bed = Bed::with(Vec::new(), settings).await;
        let objects = [&layer[..], &config, &image];
        let (_store, addr, sent) = agent(&objects, serving(&node), &bed.scope).await;
        let between = Between::start(addr, Harm::None).await;
        bed.known.set(vec![peer(between.addr)]);
        assert_eq!(bed.get(&manifest_path(&image), "").await.body, image);
        for blob in [&config, &layer] {
            let pulled = bed.pull(blob).await;
            assert!(
                pulled.body == *blob && pulled.from_registry == 0,
                "{verify:?}"
            );
        }
        if verify == Verify::Small {
            let range = "Range: bytes=100-70099\r\n";
            let part = bed.get(&blob_path(&layer), range).await;
            assert!(part.body == layer[100..70_100]);
        }
        assert_eq!(bed.known.kinds(), []);
        let (up, down) = between.passed();
        let received = bed.bytes.of(HERE);
        let gave = sent.of(HERE);
        assert_eq!(received.received.total() + received.received.tls, down);
        assert_eq!(received.sent.total() + received.sent.tls, up);
        assert_eq!(gave.sent.total() + gave.sent.tls, down);
        assert_eq!(received.received.body, gave.sent.body);
        let (payload, tls) = (received.received.total(), received.received.tls);
        assert!(
            tls > payload / 1000 && tls < payload / 400,
            "{payload} {tls}"
        );
        assert!(received.received.goodput(down).abs_diff(payload) <= 1);
    }
    assert!(counted.of(r#"piccolo_tls_accepted_total{outcome="tls"}"#) >= 3);
    assert!(counted.of(r#"piccolo_tls_dialled_total{outcome="tls"}"#) >= 3);
    assert_eq!(
        counted.of(r#"piccolo_tls_accepted_total{outcome="plain"}"#),
        0
    );
}

#[tokio::test]
async fn a_peer_that_is_somebody_else_is_not_used_and_the_next_one_is() {
    let cluster = Cluster::new();
    for (reason, wrong) in cluster.wrong() {
        let counted = Counted::begin();
        let node = cluster.node(Mode::Required);
        let layer = object(5 << 20, 3);
        let bed = Bed::with(Vec::new(), pulling(&node)).await;
        let (_bad, bad) = served(&bed, &layer, &wrong).await;
        let (_good, good) = served(&bed, &layer, &node).await;
        bed.known.set(vec![peer(bad), peer(good)]);
        let pulled = bed.pull(&layer).await;
        assert!(
            pulled.body == layer && pulled.from_registry == 0,
            "{reason}"
        );
        assert_eq!(bed.known.kinds(), [FailureKind::Identity], "{reason}");
        let failures = r#"piccolo_agent_peer_failures_total{cause="identity"}"#;
        assert_eq!(counted.of(failures), 1, "{reason}");
        let refused =
            format!("piccolo_tls_agents_refused_total{{side=\"dialled\",reason=\"{reason}\"}}");
        assert_eq!(counted.of(&refused), 1, "{reason}");
    }
}

#[tokio::test]
async fn who_does_not_show_a_node_of_the_group_is_not_served() {
    let cluster = Cluster::new();
    let layer = object(5 << 20, 4);
    for (reason, wrong) in cluster.wrong() {
        let counted = Counted::begin();
        let node = cluster.node(Mode::Required);
        let bed = Bed::with(Vec::new(), pulling(&wrong)).await;
        let (_store, addr, sent) = agent(&[&layer], serving(&node), &bed.scope).await;
        bed.known.set(vec![peer(addr)]);
        let pulled = bed.pull(&layer).await;
        assert!(
            pulled.body == layer && pulled.from_registry == layer.len(),
            "{reason}"
        );
        assert_eq!(sent.of(HERE).sent.body, 0, "{reason}");
        assert_eq!(bed.known.kinds(), [FailureKind::Identity], "{reason}");
        let refused =
            format!("piccolo_tls_agents_refused_total{{side=\"accepted\",reason=\"{reason}\"}}");
        // A client whose own certificate has expired does not wait for the answer.
        for _ in 0..500 {
            if counted.of(&refused) > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(counted.of(&refused) >= 1, "{reason}");
    }
}

#[tokio::test]
async fn plain_is_refused_where_tls_is_required() {
    let counted = Counted::begin();
    let cluster = Cluster::new();
    let node = cluster.node(Mode::Required);
    let layer = object(5 << 20, 5);
    // A plain node at a peer that requires TLS, and the other way round.
    let bed = Bed::start(Vec::new()).await;
    let (_store, addr) = served(&bed, &layer, &node).await;
    bed.known.set(vec![peer(addr)]);
    assert_eq!(bed.pull(&layer).await.from_registry, layer.len());
    let refused = r#"piccolo_tls_agents_refused_total{side="accepted",reason="plain"}"#;
    assert!(counted.of(refused) >= 1);
    let bed = Bed::with(Vec::new(), pulling(&node)).await;
    let (_store, addr) = served(&bed, &layer, &Agents::default()).await;
    bed.known.set(vec![peer(addr)]);
    assert_eq!(bed.pull(&layer).await.from_registry, layer.len());
    assert_eq!(bed.known.kinds(), [FailureKind::Identity]);
    let refused = r#"piccolo_tls_agents_refused_total{side="dialled",reason="plain"}"#;
    assert_eq!(counted.of(refused), 1);
}

#[tokio::test]
async fn permissive_speaks_with_who_knows_no_tls_until_it_has_shown_a_certificate() {
    let counted = Counted::begin();
    let cluster = Cluster::new();
    let node = cluster.node(Mode::Permissive);
    let layer = object(5 << 20, 6);
    let bed = Bed::with(Vec::new(), pulling(&node)).await;
    let (_plain, plain) = served(&bed, &layer, &Agents::default()).await;
    bed.known.set(vec![peer(plain)]);
    for _ in 0..2 {
        assert_eq!(bed.pull(&layer).await.from_registry, 0);
    }
    assert_eq!(bed.known.kinds(), []);
    // It is asked once whether it speaks TLS.
    assert_eq!(
        counted.of(r#"piccolo_tls_dialled_total{outcome="plain"}"#),
        1
    );
    // A plain node is served.
    let other = Bed::start(Vec::new()).await;
    let (_able, able) = served(&other, &layer, &node).await;
    other.known.set(vec![peer(able)]);
    assert_eq!(other.pull(&layer).await.from_registry, 0);
    assert_eq!(
        counted.of(r#"piccolo_tls_accepted_total{outcome="plain"}"#),
        1
    );
    // Once the address has shown a certificate, whatever is plain there is not believed.
    let (to, from) = (
        cluster.node(Mode::Permissive),
        cluster.node(Mode::Permissive),
    );
    let bed = Bed::with(Vec::new(), pulling(&from)).await;
    let (_able, able) = served(&bed, &layer, &to).await;
    bed.known.set(vec![peer(able)]);
    assert_eq!(bed.pull(&layer).await.from_registry, 0);
    bed.known.set(vec![peer(plain)]);
    assert_eq!(bed.pull(&layer).await.from_registry, layer.len());
    assert_eq!(bed.known.kinds(), [FailureKind::Identity]);
    assert_eq!(
        counted.of(r#"piccolo_tls_dialled_total{outcome="stripped"}"#),
        1
    );
    // On a new connection.
    let other = Bed::start(vec![peer(able)]).await;
    assert_eq!(other.pull(&layer).await.from_registry, layer.len());
    let refused = r#"piccolo_tls_agents_refused_total{side="accepted",reason="stripped"}"#;
    assert!(counted.of(refused) >= 1);
}

#[tokio::test]
async fn what_is_cut_off_or_changed_on_its_way_goes_on_elsewhere_at_the_same_byte() {
    let cluster = Cluster::new();
    let node = cluster.node(Mode::Required);
    let layer = object(9 << 20, 7);
    let verifies = [Verify::Small, Verify::Auto];
    for harm in [Harm::CutAt(4 << 20), Harm::FlipAt(4 << 20)] {
        for verify in verifies {
            let settings = FetchSettings {
                verify,
                ..pulling(&node)
            };
            let bed = Bed::with(Vec::new(), settings).await;
            let (_first, first) = served(&bed, &layer, &node).await;
            let (_second, second) = served(&bed, &layer, &node).await;
            let between = Between::start(first, harm).await;
            bed.known.set(vec![peer(between.addr), peer(second)]);
            let pulled = bed.pull(&layer).await;
            assert!(
                pulled.body == layer && pulled.from_registry == 0,
                "{harm:?}"
            );
            assert_eq!(bed.known.kinds(), [FailureKind::Cut], "{harm:?} {verify:?}");
            assert_eq!(bed.fetcher.quarantines(), [], "nobody lied: {harm:?}");
            // What had come is not fetched again, but for a chunk.
            let body = bed.bytes.of(HERE).received.body;
            assert!(body < (10 << 20) + (1 << 19), "{body} {harm:?}");
        }
    }
}

#[tokio::test]
async fn stalled_handshakes_are_bounded_and_hold_no_pull_up() {
    let counted = Counted::begin();
    let cluster = Cluster::new();
    let node = cluster.node(Mode::Required);
    let layer = object(9 << 20, 8);
    let bed = Bed::with(Vec::new(), pulling(&node)).await;
    let settings = PeerSettings {
        connections: 64,
        per_address: 24,
        head: Duration::from_millis(700),
        ..serving(&node)
    };
    let (_store, addr, _) = agent(&[&layer], settings, &bed.scope).await;
    bed.known.set(vec![peer(addr)]);
    let mut stalled = Vec::new();
    for number in 0..10_000_u16 {
        let socket = TcpSocket::new_v4().unwrap();
        let from = SocketAddr::from(([127, 0, 1, u8::try_from(number % 20).unwrap()], 0));
        socket.bind(from).unwrap();
        let mut stream = socket.connect(addr).await.unwrap();
        if number % 2 == 0 {
            // The beginning of a handshake that goes on never.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
        }
        stalled.push(stream);
    }
    let begin = Instant::now();
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == 0);
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    tokio::time::sleep(Duration::from_millis(900)).await;
    let mut ended = 0;
    for stream in &mut stalled {
        let read = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut [0; 64])).await;
        ended += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert_eq!(ended, stalled.len(), "some hold a connection still");
    assert!(counted.of(r#"piccolo_tls_accepted_total{outcome="late"}"#) >= 1);
}

#[tokio::test]
async fn a_certificate_is_exchanged_during_a_pull_and_no_byte_passes_by_the_old_one() {
    let counted = Counted::begin();
    let cluster = Cluster::new();
    let files = cluster.files(NODE, HERE, Duration::from_secs(8));
    let tls = Tls::load(Mode::Required, Some(files), ALL, Clock::system()).unwrap();
    let old = Agents::new(&tls, "g");
    let bed = Bed::with(Vec::new(), pulling(&old)).await;
    bed.scope
        .service("certificates", tls.clone().follow(bed.scope.clone()));
    let layer = object(24 << 20, 9);
    let pace = Pace::limited(NonZeroU64::new(2 << 20).unwrap());
    let settings = PeerSettings {
        pace,
        ..serving(&old)
    };
    let (_store, one, _) = agent(&[&layer], settings, &bed.scope).await;
    bed.known.set(vec![peer(one)]);
    // Files of the same names.
    cluster.files(NODE, HERE, WEEK);
    let begin = Instant::now();
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == 0);
    assert!(
        begin.elapsed() > Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
    // On another connection, which is nobody's failure.
    assert_eq!(counted.of(r#"piccolo_tls_dialled_total{outcome="tls"}"#), 2);
    assert_eq!(bed.known.kinds(), []);
}

#[tokio::test]
async fn a_handshake_ends_with_no_session_to_resume() {
    let cluster = Cluster::new();
    let node = cluster.node(Mode::Required);
    let bed = Bed::start(Vec::new()).await;
    let (_store, addr) = served(&bed, b"x", &node).await;
    let tcp = TcpStream::connect(addr).await.unwrap();
    let socket = node
        .dial(tcp, HERE, Duration::from_secs(5), Uncounted)
        .await;
    let socket = socket.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let waiting = socket.try_read(&mut [0; 64]).unwrap_err();
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(socket.held(), 0, "a ticket came");
}
