//! How connections between agents with TLS end, and what comes of that.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use daemon::tls::{Agents, Mode, Uncounted};
use pi_agent::peer::PeerSettings;
use piccolo_api::FailureKind;
use testbed::{Certificate, Records};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    bed::{Bed, agent, blob_path, object},
    client::{End, receive, send},
    counted::Counted,
    serving::peer,
    tls::{Cluster, HERE, NODE, WEEK, pulling, served, serving},
};

/// Within five seconds of its end from the beginning on.
const SHORT: Duration = Duration::from_secs(4);

async fn records(cluster: &Cluster, addr: SocketAddr) -> Records {
    let files = cluster.files(NODE, HERE, WEEK);
    let own = Certificate {
        certificate: files.certificate,
        key: files.key,
    };
    let records = Records::connect(addr, &own, &files.authorities).await;
    records.unwrap()
}

#[tokio::test]
async fn parts_of_messages_neither_keep_a_thread_busy_nor_a_connection_open() {
    let cluster = Cluster::new();
    let node = cluster.node(Mode::Required);
    let layer = object(5 << 20, 21);
    let bed = Bed::with(Vec::new(), pulling(&node)).await;
    let limit = Duration::from_millis(700);
    let settings = PeerSettings {
        head: limit,
        idle: limit,
        ..serving(&node)
    };
    let (_store, addr, _) = agent(&[&layer], settings, &bed.scope).await;
    bed.known.set(vec![peer(addr)]);
    for begun in [&b""[..], b"GET /v2/"] {
        let mut records = records(&cluster, addr).await;
        if !begun.is_empty() {
            records.send_data(begun).await.unwrap();
        }
        records.send_handshake(&[0x18]).await.unwrap();
        // The runtime of the test has one thread.
        let pulled = bed.pull(&layer).await;
        assert!(pulled.body == layer && pulled.from_registry == 0);
        let ended = timeout(limit * 4, records.read_to_end()).await;
        assert!(ended.is_ok(), "it is open still");
    }
}

#[tokio::test]
async fn who_is_taken_for_plain_and_is_not_is_asked_again() {
    let cluster = Cluster::new();
    let node = cluster.node(Mode::Permissive);
    let bed = Bed::with(Vec::new(), pulling(&node)).await;
    let layer = object(5 << 20, 22);
    let (_plain, plain) = served(&bed, &layer, &Agents::default()).await;
    bed.known.set(vec![peer(plain)]);
    assert_eq!(bed.pull(&layer).await.from_registry, 0);
    // The agent at this address requires TLS from now on.
    let able = cluster.node(Mode::Required);
    for (seed, from_registry) in [(23, 5 << 20), (24, 0)] {
        let layer = object(5 << 20, seed);
        let (_store, addr) = served(&bed, &layer, &able).await;
        bed.known.set(vec![peer(addr)]);
        assert_eq!(bed.pull(&layer).await.from_registry, from_registry);
    }
}

#[tokio::test]
async fn plain_connections_end_when_their_other_side_has_shown_a_certificate() {
    let counted = Counted::begin();
    let cluster = Cluster::new();
    let node = cluster.node(Mode::Permissive);
    let layer = object(5 << 20, 25);
    let bed = Bed::with(Vec::new(), pulling(&node)).await;
    let (_plain, plain) = served(&bed, &layer, &Agents::default()).await;
    let able_node = cluster.node(Mode::Permissive);
    let (_able, able) = served(&bed, &layer, &able_node).await;
    // One that this node keeps for the next request.
    bed.known.set(vec![peer(plain)]);
    assert_eq!(bed.pull(&layer).await.from_registry, 0);
    // And one that it serves.
    let mut client = TcpStream::connect(able).await.unwrap();
    send(&mut client, "GET", &blob_path(&layer), "").await;
    let reply = receive(&mut client, "GET").await;
    assert!(reply.body == layer && reply.end == End::Complete);
    let tcp = TcpStream::connect(able).await.unwrap();
    let socket = node.dial(tcp, HERE, SHORT, Uncounted).await.unwrap();
    assert!(socket.as_plain().is_none());
    assert_eq!(bed.pull(&layer).await.from_registry, layer.len());
    assert_eq!(bed.known.kinds(), [FailureKind::Identity]);
    send(&mut client, "GET", &blob_path(&layer), "").await;
    let mut byte = [0];
    let read = tokio::io::AsyncReadExt::read(&mut client, &mut byte).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let refused = r#"piccolo_tls_agents_refused_total{side="accepted",reason="stripped"}"#;
    assert_eq!(counted.of(refused), 1);
}

#[tokio::test]
async fn what_the_other_side_refuses_is_answered_at_once() {
    let cluster = Cluster::new();
    let able = cluster.node(Mode::Required);
    let layer = object(5 << 20, 26);
    let bed = Bed::start(Vec::new()).await;
    let (_store, addr) = served(&bed, &layer, &able).await;
    // Not even with much of the request on its way is the connection reset.
    let mut client = TcpStream::connect(addr).await.unwrap();
    let field = format!("X-Long: {}\r\n", "x".repeat(6000));
    send(&mut client, "GET", &blob_path(&layer), &field).await;
    let begin = Instant::now();
    let read = tokio::io::AsyncReadExt::read(&mut client, &mut [0]).await;
    assert!(matches!(read, Ok(0)), "{read:?}");
    assert!(begin.elapsed() < Duration::from_millis(400));
}
