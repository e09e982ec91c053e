//! Listeners all of whose connections are taken.

use std::{net::SocketAddr, num::NonZeroU64, time::Duration};

use pi_agent::{
    datapath::Pace,
    mirror::{Mirror, MirrorSettings},
    peer::PeerSettings,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use crate::{
    bed::{Bed, agent, blob_path, object},
    client::{request, send},
};

const CONNECTIONS: usize = 4;
/// Within this a probe is answered.
const SECOND: Duration = Duration::from_secs(1);

async fn mirror(bed: &Bed) -> SocketAddr {
    let settings = MirrorSettings {
        connections: CONNECTIONS,
        ..MirrorSettings::default()
    };
    let mirror = Mirror::new(bed.store.content(), bed.fetcher.clone(), settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    bed.scope
        .service("mirror", mirror.serve(listener, bed.scope.clone()));
    addr
}

/// Connections that say `bytes` and nothing more.
async fn held(to: SocketAddr, bytes: &str) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        all.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    all
}

#[tokio::test]
async fn who_says_nothing_makes_room_for_who_asks() {
    let blob = object(5000, 90);
    let bed = Bed::start(Vec::new()).await;
    bed.store.put(&blob);
    let (_store, peers, _) = agent(
        &[&blob],
        PeerSettings {
            connections: CONNECTIONS,
            ..PeerSettings::default()
        },
        &bed.scope,
    )
    .await;
    for to in [mirror(&bed).await, peers] {
        for said in ["", "GET /v2/ HTTP/1.1\r\nHost:"] {
            let silent = held(to, said).await;
            for _ in 0..3 * CONNECTIONS {
                let since = Instant::now();
                assert_eq!(request(to, "GET", "/v2/", "").await.status, 200);
                let reply = request(to, "GET", &blob_path(&blob), "").await;
                assert!(reply.status == 200 && reply.body == blob);
                assert!(since.elapsed() < SECOND);
            }
            // The oldest is gone, and knows it.
            let mut oldest = silent.into_iter().next().unwrap();
            let mut nothing = Vec::new();
            let end = timeout(SECOND, oldest.read_to_end(&mut nothing)).await;
            assert!(end.is_ok() && nothing.is_empty());
        }
    }
}

#[tokio::test]
async fn where_all_are_being_answered_a_probe_is_too() {
    let layer = object(64 << 20, 91);
    let bed = Bed::start(Vec::new()).await;
    bed.store.put(&layer);
    let settings = PeerSettings {
        connections: CONNECTIONS,
        pace: Pace::limited(NonZeroU64::new(1 << 20).unwrap()),
        ..PeerSettings::default()
    };
    let (_store, peers, _) = agent(&[&layer], settings, &bed.scope).await;
    let path = blob_path(&layer);
    // The mirror leaves what is asked for to the registry; a peer asks another one.
    for (to, busy) in [(mirror(&bed).await, 404), (peers, 503)] {
        let mut reading = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(to).await.unwrap();
            send(&mut stream, "GET", &path, "").await;
            let mut first = [0; 1];
            stream.read_exact(&mut first).await.unwrap();
            reading.push(stream);
        }
        for _ in 0..2 {
            let since = Instant::now();
            assert_eq!(request(to, "GET", "/v2/", "").await.status, 200);
            assert_eq!(request(to, "GET", &path, "").await.status, busy);
            assert!(since.elapsed() < SECOND);
        }
        drop(reading);
    }
}

/// A connection of another host than the test's.
async fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Status of a request by `stream` for an object of which no more than the head is read.
async fn status(stream: &mut TcpStream, path: &str) -> String {
    send(stream, "GET", path, "").await;
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.unwrap();
    String::from_utf8(line.to_vec()).unwrap()
}

#[tokio::test]
async fn few_that_read_slowly_leave_slots_for_others() {
    few_leave_room_for_others(8).await;
}

/// All that are connected are being answered, and none makes room.
#[tokio::test]
async fn few_that_read_slowly_leave_connections_for_others() {
    few_leave_room_for_others(1000).await;
}

async fn few_leave_room_for_others(slots: usize) {
    let layer = object(64 << 20, 92);
    let bed = Bed::start(Vec::new()).await;
    let settings = PeerSettings {
        connections: 32,
        per_address: 16,
        slots,
        queue: 4,
        pace: Pace::limited(NonZeroU64::new(1 << 20).unwrap()),
        ..PeerSettings::default()
    };
    let (_store, peers, _) = agent(&[&layer], settings, &bed.scope).await;
    let path = blob_path(&layer);
    let mut slow = Vec::new();
    for last in [2, 3] {
        for _ in 0..16 {
            let mut stream = from(last, peers).await;
            // It may have been closed.
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let _ = stream.write_all(request.as_bytes()).await;
            slow.push(stream);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let since = Instant::now();
    let mut honest = from(4, peers).await;
    assert_eq!(status(&mut honest, &path).await, "HTTP/1.1 200");
    assert!(since.elapsed() < SECOND);
}
