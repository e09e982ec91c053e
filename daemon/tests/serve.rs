//! Listeners against clients that take much and give little.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use axum::{Router, routing::get};
use daemon::{
    scope::Scope,
    serve::{self, Dropped, Limits},
    tls::Tls,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(20);
const STALL: Duration = Duration::from_secs(1);
/// More than the kernel keeps of one connection on its own.
const LARGE: usize = 32 << 20;

/// Serves a large reply and a small one, with limits of connections in all and of one address.
async fn server(
    (connections, per_address): (usize, usize),
    dropped: fn(Dropped),
) -> (SocketAddr, Scope) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (scope, _deaths) = Scope::new();
    let router = Router::new()
        .route("/large", get(|| async { vec![b'x'; LARGE] }))
        .route("/small", get(|| async { "small" }));
    let limits = Limits {
        connections,
        head: DEADLINE,
        stall: STALL,
        per_address,
        counts_as: serve::network,
        dropped,
    };
    scope.task(
        tracing::Span::none(),
        serve::serve(listener, router, Tls::default(), limits, scope.clone()),
    );
    (address, scope)
}

/// Sends a request on a connection with a receive buffer of the given size, in bytes.
async fn asked(server: SocketAddr, path: &str, takes: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(takes).expect("a small buffer");
    let mut stream = socket.connect(server).await.expect("a connection");
    let call = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(call.as_bytes()).await.expect("it is sent");
    stream
}

async fn until(count: &AtomicU32, wanted: u32) {
    let reached = async {
        while count.load(Relaxed) < wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, reached).await.expect("it is told");
}

#[tokio::test]
async fn a_client_that_never_reads_is_dropped() {
    static STALLED: AtomicU32 = AtomicU32::new(0);
    let count = |dropped| {
        assert_eq!(dropped, Dropped::Stalled);
        STALLED.fetch_add(1, Relaxed);
    };
    let (server, _scope) = server((1, 8), count).await;
    let mut never = asked(server, "/large", 8192).await;
    until(&STALLED, 1).await;
    let mut rest = Vec::new();
    let end = timeout(DEADLINE, never.read_to_end(&mut rest)).await;
    end.expect("it ends").expect_err("it is cut, not closed");
    assert!(rest.len() < LARGE);
    // Its place is another's now.
    let mut next = asked(server, "/small", 8192).await;
    let mut reply = String::new();
    let read = next.read_to_string(&mut reply).await;
    assert!(read.is_ok() && reply.ends_with("small"), "{reply:?}");
}

#[tokio::test]
async fn a_client_that_reads_slowly_has_the_whole_reply() {
    let never = |dropped| panic!("{dropped:?}");
    let (server, _scope) = server((1, 8), never).await;
    let mut slow = asked(server, "/large", 128 << 10).await;
    let begin = tokio::time::Instant::now();
    let mut read = 0;
    let mut some = vec![0; 64 << 10];
    while read < LARGE {
        let got = timeout(DEADLINE, slow.read(&mut some)).await;
        let got = got.expect("in time").expect("a part of the reply");
        assert!(got > 0, "cut after {read} bytes");
        read += got;
        if begin.elapsed() < STALL * 3 {
            tokio::time::sleep(STALL / 50).await;
        }
    }
    assert!(begin.elapsed() > STALL * 3);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    static REFUSED: AtomicU32 = AtomicU32::new(0);
    let count = |dropped| {
        assert_eq!(dropped, Dropped::TooMany);
        REFUSED.fetch_add(1, Relaxed);
    };
    let (server, _scope) = server((8, 3), count).await;
    let connect = async || TcpStream::connect(server).await.expect("a connection");
    let mut held = [connect().await, connect().await, connect().await];
    let mut further = connect().await;
    let mut rest = Vec::new();
    let end = timeout(DEADLINE, further.read_to_end(&mut rest)).await;
    assert_eq!(end.expect("it ends").expect("without a word"), 0);
    until(&REFUSED, 1).await;
    // One that ends makes room for another.
    let call = b"GET /small HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    held[0].write_all(call).await.expect("it is sent");
    let mut reply = String::new();
    held[0].read_to_string(&mut reply).await.expect("a reply");
    let answered = async {
        loop {
            let mut reply = String::new();
            let mut next = connect().await;
            // A connection that comes before the server notices the end is closed.
            let sent = next.write_all(call).await;
            let read = next.read_to_string(&mut reply).await;
            if sent.is_ok() && read.is_ok() && reply.ends_with("small") {
                return;
            }
        }
    };
    timeout(DEADLINE, answered)
        .await
        .expect("there is room again");
}

#[tokio::test]
async fn idle_connections_and_slow_readers_make_room() {
    static EVICTED: AtomicU32 = AtomicU32::new(0);
    let count = |dropped| {
        assert_eq!(dropped, Dropped::Evicted);
        EVICTED.fetch_add(1, Relaxed);
    };
    let (server, _scope) = server((2, 99), count).await;
    let mut idle = TcpStream::connect(server).await.expect("a connection");
    let _slow = asked(server, "/large", 8192).await;
    for evicted in 1..=4 {
        let mut next = asked(server, "/small", 8192).await;
        let mut reply = String::new();
        let read = timeout(DEADLINE, next.read_to_string(&mut reply)).await;
        assert!(read.is_ok_and(|read| read.is_ok()), "{evicted}");
        assert!(reply.ends_with("small"), "{reply:?}");
        until(&EVICTED, 1).await;
    }
    let mut nothing = Vec::new();
    let end = timeout(DEADLINE, idle.read_to_end(&mut nothing)).await;
    assert_eq!(end.expect("it ends").expect("it is closed"), 0);
}
