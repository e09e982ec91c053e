//! How connections between agents with TLS end, and what comes of that.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use daemon::{
    clock::Clock,
    tls::{Agents, Mode, Socket, Uncounted},
};
use pi_agent::peer::PeerSettings;
use piccolo_api::FailureKind;
use testbed::{Certificate, Records};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    bed::{Bed, agent, blob_path, object},
    client::{End, receive, send},
    counted::Counted,
    serving::peer,
    tls::{Cluster, HERE, NODE, WEEK, agents, pulling, served, serving},
};

/// Within five seconds of its end from the beginning on.
const SHORT: Duration = Duration::from_secs(4);

/// What a peer does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Nothing,
    Half,
    All,
}

/// A peer that has `object`. On each connection it shows a certificate that lasts so long, acts so, and
/// ends the connection; on those after the last of `acts` as on that. Gives how many there were, too.
async fn acting(
    cluster: &Cluster,
    object: &[u8],
    acts: &'static [(Duration, Act)],
) -> (SocketAddr, Arc<AtomicUsize>) {
    let by = |lasts| {
        agents(
            Mode::Required,
            cluster.files(NODE, HERE, lasts),
            Clock::system(),
        )
    };
    let acts: Vec<_> = acts.iter().map(|(lasts, act)| (by(*lasts), *act)).collect();
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (object, count) = (object.to_vec(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&count);
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move {
        loop {
            let (tcp, remote) = listener.accept().await.unwrap();
            let number = counted.fetch_add(1, Ordering::SeqCst);
            let (agents, act) = &acts[number.min(acts.len() - 1)];
            let taken = agents.accept(tcp, remote, SHORT, Uncounted).await;
            if let Ok(socket) = taken {
                // What the other side does not wait for is no failure here.
                let _ = play(&socket, &object, *act).await;
            }
        }
    });
    (addr, count)
}

async fn play(socket: &Socket, object: &[u8], act: Act) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        socket.readable().await?;
        let mut room = [0; 4096];
        match socket.try_read(&mut room) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            read => match read? {
                0 => return Ok(()),
                count => request.extend_from_slice(&room[..count]),
            },
        }
    }
    let request = String::from_utf8(request).unwrap();
    let from = request.split("bytes=").nth(1);
    let from = from.map_or(0, |range| range.split('-').next().unwrap().parse().unwrap());
    let (length, all) = (object.len() - from, object.len());
    let status = match from {
        0 => "200 OK\r\n".to_owned(),
        _ => format!(
            "206 Partial Content\r\nContent-Range: bytes {from}-{}/{all}\r\n",
            all - 1
        ),
    };
    let mut reply = format!("HTTP/1.1 {status}Content-Length: {length}\r\n\r\n").into_bytes();
    reply.extend_from_slice(&object[from..]);
    reply.truncate(match act {
        Act::Nothing => 0,
        Act::Half => reply.len() - length / 2,
        Act::All => reply.len(),
    });
    let mut at = 0;
    while at < reply.len() {
        socket.writable().await?;
        match socket.try_write(&reply[at..]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            written => at += written?,
        }
    }
    while let Err(error) = socket.try_flush() {
        if error.kind() != std::io::ErrorKind::WouldBlock {
            return Err(error);
        }
        socket.writable().await?;
    }
    Ok(())
}

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

#[tokio::test]
async fn a_certificate_that_expires_on_the_other_side_first_is_nobodys_failure() {
    let cluster = Cluster::new();
    let node = cluster.node(Mode::Required);
    for size in [3 << 20, 9 << 20] {
        let object = object(size, 27);
        for acts in [
            &[(SHORT, Act::Half), (WEEK, Act::All)][..],
            &[(SHORT, Act::Nothing), (WEEK, Act::All)],
        ] {
            let bed = Bed::with(Vec::new(), pulling(&node)).await;
            let (addr, connections) = acting(&cluster, &object, acts).await;
            bed.known.set(vec![peer(addr)]);
            let pulled = bed.pull(&object).await;
            assert!(pulled.body == object);
            assert_eq!(pulled.from_registry, 0, "{size} {acts:?}");
            assert_eq!(bed.known.kinds(), [], "{size} {acts:?}");
            assert_eq!(connections.load(Ordering::SeqCst), 2, "{size} {acts:?}");
        }
    }
}

#[tokio::test]
async fn a_peer_whose_certificates_always_expire_is_given_up() {
    let cluster = Cluster::new();
    let node = cluster.node(Mode::Required);
    for (size, act) in [
        (3 << 20, Act::Half),
        (3 << 20, Act::Nothing),
        (9 << 20, Act::Nothing),
    ] {
        let object = object(size, 28);
        let bed = Bed::with(Vec::new(), pulling(&node)).await;
        let acts: &'static [_] = match act {
            Act::Half => &[(SHORT, Act::Half)],
            _ => &[(SHORT, Act::Nothing)],
        };
        let (addr, connections) = acting(&cluster, &object, acts).await;
        bed.known.set(vec![peer(addr)]);
        let pulled = bed.pull(&object).await;
        assert!(pulled.body == object && pulled.from_registry > 0);
        assert!(connections.load(Ordering::SeqCst) <= 6, "{connections:?}");
        assert_eq!(bed.known.failures.lock().len(), 1, "{size} {act:?}");
    }
}
