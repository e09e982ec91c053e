//! What the two listeners say to good requests and to bad ones.

use std::{num::NonZeroU64, time::Duration};

use pi_agent::{
    datapath::{Pace, Receiver},
    fetch::FetchSettings,
    peer::PeerSettings,
};
use piccolo_api::{FailureKind, Holder, Peer, PeerState};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::{
    bed::{Bed, agent, blob_path, digest, manifest_path, object},
    client::{End, receive, request, send},
    counted::Counted,
    fake::{Fake, Fault},
};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// A manifest of these layers.
pub(crate) fn manifest(layers: &[&[u8]]) -> Vec<u8> {
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| serde_json::json!({"digest": digest(layer).as_str(), "size": layer.len()}))
        .collect();
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": OCI, "layers": layers});
    manifest.to_string().into_bytes()
}

pub(crate) fn peer(addr: std::net::SocketAddr) -> Peer {
    Peer {
        addr: Holder::new(addr).unwrap(),
        rack: "r".to_owned(),
        state: PeerState::Complete,
        score: 1.0,
    }
}

#[tokio::test]
async fn an_image_comes_from_an_agent_and_every_byte_is_counted() {
    let layer = object(9 << 20, 51);
    let config = object(700, 52);
    let image = manifest(&[&config, &layer]);
    let bed = Bed::start(Vec::new()).await;
    let objects = [&layer[..], &config, &image];
    let (_store, addr, served) = agent(&objects, PeerSettings::default(), &bed.scope).await;
    bed.known.set(vec![peer(addr)]);
    let head = request(bed.mirror, "HEAD", &manifest_path(&image), "").await;
    assert_eq!((head.status, head.field("Content-Type")), (200, Some(OCI)));
    assert_eq!(
        head.field("Docker-Content-Digest"),
        Some(digest(&image).as_str())
    );
    let reply = bed.get(&manifest_path(&image), "").await;
    assert_eq!(reply.body, image);
    assert_eq!(reply.field("Content-Type"), Some(OCI));
    assert_eq!(bed.known.prefetched.lock().len(), 4);
    for object in [&config, &layer] {
        let reply = bed.get(&blob_path(object), "").await;
        assert!(reply.status == 200 && reply.body == *object);
        assert_eq!(
            reply.field("Docker-Content-Digest"),
            Some(digest(object).as_str())
        );
    }
    let received = bed.bytes.snapshot()[0].1;
    let sent = served.snapshot()[0].1;
    let bodies = u64::try_from(layer.len() + config.len() + image.len()).unwrap();
    assert_eq!(received.received.body, bodies);
    assert_eq!(received.received, sent.sent);
    assert_eq!(received.sent, sent.received);
    assert!(received.sent.head > 300 && received.sent.body == 0);
}

#[tokio::test]
async fn own_content_needs_no_peer() {
    let layer = object(6 << 20, 53);
    let image = manifest(&[&layer]);
    let bed = Bed::start(Vec::new()).await;
    bed.store.put(&layer);
    bed.store.put(&image);
    let reply = bed.get(&manifest_path(&image), "").await;
    assert_eq!(
        (reply.status, reply.field("Content-Type")),
        (200, Some(OCI))
    );
    for (range, part) in [
        ("bytes=100-", &layer[100..]),
        ("bytes=5-9", &layer[5..10]),
        ("bytes=-3", &layer[layer.len() - 3..]),
    ] {
        let reply = bed
            .get(&blob_path(&layer), &format!("Range: {range}\r\n"))
            .await;
        assert!(reply.status == 206 && reply.body == part, "{range}");
    }
    let head = request(bed.mirror, "HEAD", &blob_path(&layer), "").await;
    assert_eq!(
        head.field("Content-Length"),
        Some(&*layer.len().to_string())
    );
    // A layer is no manifest, however it is asked for.
    assert_eq!(bed.get(&manifest_path(&layer), "").await.status, 404);
    let reply = bed
        .get(&blob_path(&layer), "Range: bytes=99999999-\r\n")
        .await;
    assert_eq!(reply.status, 416);
}

#[tokio::test]
async fn what_cannot_be_served_is_left_to_the_next_host() {
    let bed = Bed::start(Vec::new()).await;
    let blob = object(10, 54);
    for path in [
        &*blob_path(&blob),
        &manifest_path(&blob),
        "/v2/lib/a/manifests/latest?ns=registry.test",
        "/v2/lib/a/tags/list",
        "/",
        "/v2/../../etc/passwd",
    ] {
        let reply = bed.get(path, "").await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.body.starts_with(br#"{"errors":[{"code":""#));
        assert_eq!(request(bed.mirror, "HEAD", path, "").await.status, 404);
    }
    assert_eq!(bed.get("/v2/", "").await.status, 200);
    assert_eq!(
        request(bed.mirror, "POST", "/v2/lib/a/blobs/uploads/", "")
            .await
            .status,
        405
    );
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let blob = object(1000, 55);
    let bed = Bed::start(Vec::new()).await;
    bed.store.put(&blob);
    let mut stream = TcpStream::connect(bed.mirror).await.unwrap();
    for _ in 0..50 {
        send(&mut stream, "GET", &blob_path(&blob), "").await;
        assert_eq!(receive(&mut stream, "GET").await.body, blob);
        send(&mut stream, "HEAD", &blob_path(&object(9, 56)), "").await;
        assert_eq!(receive(&mut stream, "HEAD").await.status, 404);
    }
}

#[tokio::test]
async fn a_request_is_not_passed_on_twice() {
    let blob = object(1000, 57);
    let other = Fake::start(Fault::None, &blob).await;
    let bed = Bed::start(vec![other.peer()]).await;
    let (_store, addr, _) = agent(&[], PeerSettings::default(), &bed.scope).await;
    assert_eq!(
        request(addr, "GET", &blob_path(&blob), "").await.status,
        404
    );
    let reply = bed
        .get(&blob_path(&blob), "X-Spegel-Mirrored: true\r\n")
        .await;
    assert_eq!(reply.status, 404);
    assert_eq!(other.requests(), 0);
}

#[tokio::test]
async fn a_busy_agent_names_others() {
    let layer = object(6 << 20, 58);
    let bed = Bed::start(Vec::new()).await;
    let settings = PeerSettings {
        slots: 1,
        queue: 0,
        pace: Pace::limited(NonZeroU64::new(8 << 20).unwrap()),
        ..PeerSettings::default()
    };
    let (_store, addr, _) = agent(&[&layer], settings, &bed.scope).await;
    let path = blob_path(&layer);
    // The second one says that it is somebody else.
    for agent in ["127.0.0.1:7787", "10.0.0.9:7787"] {
        let field = format!("Piccolo-Agent: {agent}\r\n");
        let done = request(addr, "GET", &path, &field).await;
        assert!(done.body == layer);
    }
    let mut slow = TcpStream::connect(addr).await.unwrap();
    send(&mut slow, "GET", &path, "").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let ours = request(addr, "GET", &path, "Piccolo-Agent: 10.0.0.1:7787\r\n").await;
    assert_eq!(ours.status, 503);
    assert_eq!(ours.field("Piccolo-Alternates"), Some("127.0.0.1:7787"));
    // Others know no "busy", and small objects need no slot.
    assert_eq!(request(addr, "GET", &path, "").await.status, 404);
    assert_eq!(request(addr, "HEAD", &path, "").await.status, 200);
    drop(slow);
}

#[tokio::test]
async fn alternates_are_asked() {
    let layer = object(6 << 20, 59);
    let good = Fake::start(Fault::None, &layer).await;
    let own = FetchSettings {
        here: "10.0.0.1:7787".parse::<Holder>().unwrap().into(),
        ..crate::bed::settings()
    };
    let bed = Bed::with(Vec::new(), own).await;
    let settings = PeerSettings {
        slots: 1,
        queue: 0,
        pace: Pace::limited(NonZeroU64::new(8 << 20).unwrap()),
        ..PeerSettings::default()
    };
    let (_store, addr, _) = agent(&[&layer], settings, &bed.scope).await;
    bed.known.set(vec![peer(addr)]);
    let path = blob_path(&layer);
    let field = format!("Piccolo-Agent: {}\r\n", good.holder());
    assert!(request(addr, "GET", &path, &field).await.body == layer);
    let mut slow = TcpStream::connect(addr).await.unwrap();
    send(&mut slow, "GET", &path, "").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == 0);
    assert_eq!(good.requests(), 1);
    assert_eq!(bed.known.kinds(), [FailureKind::Busy]);
    drop(slow);
}

#[tokio::test]
async fn a_deleted_blob_is_served_to_its_end() {
    let layer = object(16 << 20, 60);
    let bed = Bed::start(Vec::new()).await;
    let settings = PeerSettings {
        pace: Pace::limited(NonZeroU64::new(64 << 20).unwrap()),
        ..PeerSettings::default()
    };
    let (store, addr, _) = agent(&[&layer], settings, &bed.scope).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    send(
        &mut stream,
        "GET",
        &blob_path(&layer),
        "Connection: close\r\n",
    )
    .await;
    let mut first = [0; 100];
    stream.read_exact(&mut first).await.unwrap();
    drop(store);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&layer[layer.len() - 1000..]));
}

#[tokio::test]
async fn who_does_not_read_is_dropped() {
    let layer = object(32 << 20, 61);
    let bed = Bed::start(Vec::new()).await;
    let settings = PeerSettings {
        slots: 1,
        queue: 1,
        queue_time: Duration::from_secs(5),
        receiver: Receiver::patient(Duration::from_millis(200)),
        ..PeerSettings::default()
    };
    let (_store, addr, _) = agent(&[&layer], settings, &bed.scope).await;
    let mut idle = TcpStream::connect(addr).await.unwrap();
    send(&mut idle, "GET", &blob_path(&layer), "").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let reply = request(addr, "GET", &blob_path(&layer), "").await;
    assert!(reply.body == layer && reply.end == End::Complete);
}

#[tokio::test]
async fn who_reads_too_slowly_is_dropped() {
    let layer = object(32 << 20, 62);
    let bed = Bed::start(Vec::new()).await;
    let settings = PeerSettings {
        receiver: Receiver::patient(Duration::from_millis(300)),
        ..PeerSettings::default()
    };
    let (_store, addr, _) = agent(&[&layer], settings, &bed.scope).await;
    let mut slow = TcpStream::connect(addr).await.unwrap();
    send(&mut slow, "GET", &blob_path(&layer), "").await;
    let mut read = 0;
    let mut room = [0; 512];
    let begin = std::time::Instant::now();
    // The first seconds empty what the kernel holds; the end comes as FIN or RST.
    while let Ok(count @ 1..) = slow.read(&mut room).await {
        read += count;
        if begin.elapsed() < Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(read < layer.len(), "{read} bytes");
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let blob = object(1000, 63);
    let counted = Counted::begin();
    let bed = Bed::start(Vec::new()).await;
    let settings = PeerSettings {
        per_address: 2,
        ..PeerSettings::default()
    };
    let (_store, addr, _) = agent(&[&blob], settings, &bed.scope).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        send(&mut stream, "GET", &blob_path(&blob), "").await;
        assert_eq!(receive(&mut stream, "GET").await.body, blob);
        open.push(stream);
    }
    let mut third = TcpStream::connect(addr).await.unwrap();
    assert_eq!(third.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(
        counted.of("piccolo_agent_peer_connections_refused_total"),
        1
    );
    // Another address has its own.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 9], 0).into()).unwrap();
    let mut other = socket.connect(addr).await.unwrap();
    send(&mut other, "GET", &blob_path(&blob), "").await;
    assert_eq!(receive(&mut other, "GET").await.body, blob);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let bed = Bed::start(Vec::new()).await;
    for junk in [
        "\0\0\0\0\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(bed.mirror).await.unwrap();
        stream.write_all(junk.as_bytes()).await.unwrap();
        let reply = receive(&mut stream, "GET").await;
        assert_eq!(reply.status, 400);
    }
    let mut stream = TcpStream::connect(bed.mirror).await.unwrap();
    let endless = "GET /v2/ HTTP/1.1\r\n".to_owned() + &"X: y\r\n".repeat(5000);
    // It may be cut off before all of it is written.
    let _ = stream.write_all(endless.as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 400"));
}

/// Sends bytes in one piece, then ends its side; gives the status of each reply.
async fn statuses(to: std::net::SocketAddr, bytes: &[u8]) -> Vec<String> {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut replies = Vec::new();
    let _ = stream.read_to_end(&mut replies).await;
    let replies = String::from_utf8_lossy(&replies).into_owned();
    let lines = replies.split("HTTP/1.1 ").skip(1);
    lines.map(|line| line[..3].to_owned()).collect()
}

/// A close that a proxy has put before what the client said counts, as it does for other servers: the
/// next request would be somebody else's.
#[tokio::test]
async fn a_close_is_not_undone() {
    let bed = Bed::start(Vec::new()).await;
    for (version, fields, replies) in [
        ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", 1),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", 1),
        ("1.0", "Connection: close\r\nConnection: keep-alive\r\n", 1),
        ("1.0", "Connection: keep-alive\r\n", 2),
        ("1.1", "", 2),
    ] {
        let request = format!("GET /v2/ HTTP/{version}\r\n{fields}\r\n");
        let told = statuses(bed.mirror, request.repeat(2).as_bytes()).await;
        assert_eq!(told, vec!["200"; replies], "{request}");
    }
}

/// The longest head is 16 KiB, whether it comes at once or byte by byte.
#[tokio::test]
async fn a_head_is_too_long_however_it_comes() {
    let bed = Bed::start(Vec::new()).await;
    for (length, status) in [(16 << 10, "200"), ((16 << 10) + 1, "400")] {
        let mut head = "GET /v2/ HTTP/1.1\r\nX: ".to_owned();
        head += &"y".repeat(length - head.len() - 4);
        head += "\r\n\r\n";
        assert_eq!(statuses(bed.mirror, head.as_bytes()).await, [status]);
        let mut stream = TcpStream::connect(bed.mirror).await.unwrap();
        for part in head.as_bytes().chunks(1000) {
            stream.write_all(part).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(receive(&mut stream, "GET").await.status.to_string(), status);
    }
}
