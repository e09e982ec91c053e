//! What is too much, too slow, or not the caller's to say.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use piccolo_api::path;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    engine::{Database, Engine, on_engines},
    process::Process,
    raw::{answer, exchange},
    server::{Server, eventually},
};

on_engines!(all:
    too_much_is_told_how_much,
    only_the_own_address_is_taken_if_so_asked
);

async fn refused(server: &Server, path: &str, call: &Value) -> (u16, String) {
    let (status, reply) = server.post(path, call).await;
    let text = reply["message"].as_str().or(reply["error"].as_str());
    (status, text.expect("a message").to_owned())
}

async fn too_much_is_told_how_much(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let call = |holder: &str, keys: Vec<String>, group: &str| json!({"holder": holder, "keys": keys, "group": group});
    let key = |n: usize| vec!["k".repeat(n)];
    let many: Vec<_> = (0..20_001).map(|n| n.to_string()).collect();
    let large = vec!["k".repeat(250); 17_000];
    let far = "1".repeat(100) + ":1";
    for (call, status, says) in [
        (
            call("10.0.0.1:1", key(256), "g"),
            400,
            "key is 256 bytes long, at most 255",
        ),
        (
            call("10.0.0.1:1", key(1), &"g".repeat(65)),
            400,
            "group is 65 bytes long, at most 64",
        ),
        (call(&far, key(1), "g"), 400, "is not of the form"),
        (
            call("10.0.0.1:1", many, "g"),
            413,
            "20001 keys in one call, at most 20000",
        ),
        (
            call("10.0.0.1:1", large, "g"),
            413,
            "longer than 4194304 bytes",
        ),
    ] {
        for path in [path::ADVERTISE, path::SYNC] {
            let (got, text) = refused(&server, path, &call).await;
            assert!(got == status && text.contains(says), "{got} {text}");
        }
    }
    let many: Vec<_> = (0..257).map(|n| n.to_string()).collect();
    let find = json!({"keys": many, "group": "g"});
    let (status, text) = refused(&server, path::FIND, &find).await;
    assert!(
        status == 413 && text.contains("257 keys in one find, at most 256"),
        "{text}"
    );
    let keys = ["k".repeat(255)];
    server.advertise("10.0.0.1:1", &[&keys[0]]).await;
    assert_eq!(
        server.ranked(&keys[0], "10.0.0.9", 1_000_000).await.len(),
        1
    );
}

async fn only_the_own_address_is_taken_if_so_asked(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let server = Server::start(&["--database", &url, "--bind-holder"]).await;
    let other = json!({"holder": "10.0.0.1:1", "keys": ["k"], "group": "g"});
    let alive = json!({"host": "10.0.0.1:1", "Group": "g"});
    for (path, call) in [
        (path::ADVERTISE, &other),
        (path::SYNC, &other),
        (path::KEEPALIVE, &alive),
        (path::LEAVE, &alive),
    ] {
        let (status, text) = refused(&server, path, call).await;
        assert_eq!(status, 403, "{path}");
        let says = "holder 10.0.0.1:1 is not an address of the caller, 127.0.0.1";
        assert!(
            text.contains(says) && text.contains("--bind-holder"),
            "{text}"
        );
    }
    server.advertise("127.0.0.1:1", &["k"]).await;
    assert_eq!(database.count("node"), 1);
}

/// A bridge or a gateway between agents and server is nothing to warn of.
#[tokio::test]
async fn only_a_node_that_speaks_for_another_is_warned_of() {
    let scratch = tempfile::tempdir().expect("a directory");
    let database = format!("sqlite:{}", scratch.path().join("db").display());
    let log = scratch.path().join("log");
    let server = Process::start_logging(&["--database", &database], &log);
    let say = async |from: &str, holder: &str| {
        let call = json!({"holder": holder, "keys": ["k"], "group": "g"}).to_string();
        let head = format!("POST {} HTTP/1.1\r\nhost: x\r\n", path::ADVERTISE);
        let kind = "content-type: application/json\r\nconnection: close\r\n";
        let length = call.len();
        let text = format!("{head}{kind}content-length: {length}\r\n\r\n{call}");
        let reply = call_from(from, server.api, &text).await;
        assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    };
    let warned = || {
        let log = std::fs::read_to_string(&log).expect("a log");
        log.matches("spoke for another node").count()
    };
    say("127.88.0.1", "10.0.0.1:1").await;
    say("127.88.0.1", "10.0.0.2:1").await;
    assert_eq!(warned(), 0, "no node is at the bridge's address");
    say("127.0.0.9", "127.0.0.9:1").await;
    assert_eq!(warned(), 0);
    say("127.0.0.9", "10.0.0.1:1").await;
    assert_eq!(warned(), 1);
    say("127.0.0.9", "10.0.0.2:1").await;
    assert_eq!(warned(), 1, "and not of each call");
}

#[tokio::test]
async fn slow_callers_stand_in_nobodys_way() {
    let (server, _database) = Engine::Sqlite.fresh().await;
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\n", path::SYNC);
    let mut half_open = Vec::new();
    for n in 0..600 {
        let mut stream = TcpStream::connect(server.api).await.expect("a connection");
        let text = match n % 3 {
            0 => String::new(),
            1 => head.clone(),
            _ => format!("{head}content-length: 4000000\r\n\r\n{{\"holder\""),
        };
        stream.write_all(text.as_bytes()).await.expect("it is sent");
        half_open.push(stream);
    }
    for n in 0..50 {
        server.advertise("10.0.0.1:1", &[&format!("k{n}")]).await;
    }
    assert_eq!(server.holders("k49", "10.0.0.9").await, ["10.0.0.1:1"]);
    let [nothing, no_head, no_body] = &mut half_open[..3] else {
        panic!("there are more");
    };
    assert_eq!(answer(nothing).await, "");
    let slow = answer(no_body).await;
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    assert!(slow.contains("did not arrive within 5s"), "{slow}");
    let late = answer(no_head).await;
    assert!(
        late.is_empty() || late.starts_with("HTTP/1.1 408"),
        "{late}"
    );
}

/// A connection from that address with a call that never ends, most of whose body is there.
async fn unfinished(server: &Server, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = format!("{from}:0").parse().expect("an address");
    socket.bind(from).expect("an address of this host");
    let mut stream = socket.connect(server.api).await.expect("a connection");
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 4194000\r\n\r\n",
        path::SYNC
    );
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    // What the server refuses half-way it closes.
    let _ = stream.write_all(&vec![b' '; 4_190_000]).await;
    stream
}

/// What comes back for a call from that address.
async fn from(address: &str, server: &Server, call: &str) -> String {
    call_from(address, server.api, call).await
}

async fn call_from(address: &str, server: SocketAddr, call: &str) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    let address = format!("{address}:0").parse().expect("an address");
    socket.bind(address).expect("an address of this host");
    let mut stream = socket.connect(server).await.expect("a connection");
    // What the server refuses half-way it closes.
    let _ = stream.write_all(call.as_bytes()).await;
    answer(&mut stream).await
}

#[tokio::test]
async fn one_address_does_not_take_the_room_of_all_bodies() {
    let (server, _database) = Engine::Sqlite.fresh().await;
    let keys: Vec<_> = (0..600).map(|n| format!("{n:0100}")).collect();
    let large = json!({"holder": "10.0.0.2:1", "keys": keys, "group": "g"}).to_string();
    let call = |path| {
        let length = large.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{large}"
        )
    };
    let (call, find) = (call(path::SYNC), call(path::FIND));
    let mut held = Vec::new();
    // It takes the server a moment to read what they sent, and it waits five seconds for the rest.
    let mut begun: Option<Instant> = None;
    eventually("the room of the address is full", async || {
        if begun.is_none_or(|begun| begun.elapsed() > Duration::from_secs(4)) {
            held.clear();
            let streams = (0..4).map(|_| unfinished(&server, "127.0.0.1"));
            held = futures_util::future::join_all(streams).await;
            begun = Some(Instant::now());
        }
        let replies = [&call, &find].map(|call| from("127.0.0.1", &server, call));
        let replies = futures_util::future::join_all(replies).await;
        let is_full = |reply: &String| {
            reply.starts_with("HTTP/1.1 503") && reply.contains("\r\nretry-after: 1\r\n")
        };
        replies.iter().all(is_full)
    })
    .await;
    let reply = from("127.0.0.2", &server, &call).await;
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    // What is short is taken from everybody.
    server.advertise("10.0.0.1:1", &["k"]).await;
    drop(held);
    eventually("there is room again", async || {
        let reply = from("127.0.0.1", &server, &call).await;
        reply.starts_with("HTTP/1.1 201")
    })
    .await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let (server, _database) = Engine::Sqlite.fresh().await;
    let head = |length: usize| {
        let cookie = "c".repeat(length);
        format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncookie: {cookie}\r\n\r\n")
    };
    let reply = exchange(server.api, &head(15_000)).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let reply = exchange(server.api, &head(17_000)).await;
    assert!(reply.starts_with("HTTP/1.1 431"), "{reply}");
}

#[tokio::test]
async fn a_slow_body_does_not_hold_up_the_end() {
    let database = Engine::Sqlite.database();
    let server = Process::start(&["--database", &database.url()]);
    eventually("it answers", async || server.find("k").await == Some(404)).await;
    let call = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 400\r\n\r\n",
        path::SYNC
    );
    let mut slow = TcpStream::connect(server.api).await.expect("a connection");
    slow.write_all(call.as_bytes()).await.expect("it is sent");
    // Nothing else shows that the server has begun to wait for the body.
    let mut asked = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    slow.read_exact(&mut asked)
        .await
        .expect("it wants the body");
    assert!(asked.starts_with(b"HTTP/1.1 100"));
    slow.write_all(b"{").await.expect("it is sent");
    let begin = std::time::Instant::now();
    server.ask_to_end();
    let reply = answer(&mut slow).await;
    assert!(reply.starts_with("HTTP/1.1 408"), "{reply}");
    assert!(server.end().success());
    // What is in flight is cut off after eight.
    assert!(begin.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_not_waited_for() {
    let (server, _database) = Engine::Sqlite.fresh().await;
    let begin = std::time::Instant::now();
    let call = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5000000\r\n\r\n",
        path::SYNC
    );
    let reply = exchange(server.api, &call).await;
    assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// A find that is answered with megabytes.
fn large_find(keys: &[String]) -> String {
    let body = json!({"keys": keys, "group": "g", "count": 200}).to_string();
    let length = body.len();
    format!(
        "POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}",
        path::FIND
    )
}

#[tokio::test]
async fn a_client_that_never_reads_its_reply_is_dropped() {
    let database = Engine::Sqlite.database();
    let server = Process::start(&["--database", &database.url()]);
    let keys: Vec<_> = (0..256).map(|n| format!("k{n}")).collect();
    for n in 0..200 {
        let call = json!({"holder": format!("10.0.0.{n}:7787"), "keys": keys, "group": "g"});
        assert_eq!(server.post(path::ADVERTISE, &call).await, Some(201));
    }
    let connect = async || {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8192).expect("a small buffer");
        let mut stream = socket.connect(server.api).await.expect("a connection");
        let call = large_find(&keys);
        stream.write_all(call.as_bytes()).await.expect("it is sent");
        stream
    };
    let (mut never, mut slow) = (connect().await, connect().await);
    let stalled = "piccolo_server_connections_dropped_total{reason=\"stalled\"} 1";
    let mut read = 0;
    eventually("the connection is dropped", async || {
        // Somewhat more than a minute for all of it.
        read += slow.read(&mut [0; 4096]).await.expect("a part");
        server.admin("/metrics").await.1.contains(stalled)
    })
    .await;
    answer(&mut never).await;
    assert!(
        slow.read(&mut [0; 4096]).await.expect("a part") > 0,
        "{read}"
    );
}

/// A server that has answered, and takes a limited number of connections of one address.
async fn allowing(connections: &str) -> (Database, Process) {
    let database = Engine::Sqlite.database();
    let url = database.url();
    let flag = "--connections-per-address";
    let server = Process::start(&["--database", &url, flag, connections]);
    eventually("it answers", async || server.find("k").await.is_some()).await;
    (database, server)
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let (_database, server) = allowing("3").await;
    let mut held = Vec::new();
    // The one that asked is open for some seconds more.
    for _ in 0..3 {
        held.push(TcpStream::connect(server.api).await.expect("a connection"));
    }
    let refused = "piccolo_server_connections_dropped_total{reason=\"per_address\"} 1";
    eventually("one is refused", async || {
        server.admin("/metrics").await.1.contains(refused)
    })
    .await;
    let mut last = held.pop().expect("three");
    assert_eq!(answer(&mut last).await, "");
    drop(held);
    eventually("there is room again", async || {
        server.find("k").await.is_some()
    })
    .await;
}

/// Asks on a connection that may stay open; gives the reply's head, in lower case.
async fn head_of(server: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it is sent");
    let mut reply = Vec::new();
    while !reply.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = timeout(Duration::from_secs(15), stream.read_buf(&mut reply)).await;
        assert!(read.expect("in time").expect("a reply") > 0, "{reply:?}");
    }
    String::from_utf8_lossy(&reply).to_lowercase()
}

#[tokio::test]
async fn signs_of_life_do_not_keep_connections_when_there_are_many() {
    let (_database, server) = allowing("2000").await;
    let keepalive = |body: &str| {
        let (path, length) = (path::KEEPALIVE, body.len());
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let sign = keepalive(r#"{"host": "127.0.0.1:1", "Group": "g"}"#);
    let broken = keepalive("{}");
    let find = format!(
        "GET {}?key=k&count=1 HTTP/1.1\r\nhost: x\r\n\r\n",
        path::FIND_KEY
    );
    let closes = async |request: &str| {
        head_of(server.api, request)
            .await
            .contains("connection: close")
    };
    assert!(!closes(&sign).await, "there are few");
    let mut others = Vec::new();
    for _ in 0..520 {
        others.push(TcpStream::connect(server.api).await.expect("a connection"));
    }
    eventually("it makes room", async || closes(&sign).await).await;
    assert!(!closes(&find).await, "who finds something asks more");
    assert!(!closes(&broken).await, "who failed comes again");
    assert!(closes(&sign).await, "there are many yet");
}
