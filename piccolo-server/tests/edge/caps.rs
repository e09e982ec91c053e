//! What one address can make of nodes, keys and groups, and what is left for others.

use std::{net::SocketAddr, time::Duration};

use piccolo_api::path;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::{
    engine::{Database, Engine, on_engines},
    process::Process,
    raw::answer,
    server::{Server, eventually},
};

on_engines!(all:
    only_an_advertisement_makes_a_node_or_a_group,
    an_address_has_so_many_nodes_and_others_have_theirs,
    a_full_group_takes_who_speaks_for_itself,
    a_node_has_so_many_keys_over_all_its_calls,
    the_nodes_of_an_address_have_so_many_keys,
    a_group_without_nodes_goes_and_comes_back,
    the_number_of_a_group_that_is_gone_is_given_again,
    groups_that_are_not_listed_are_refused,
);

const HOLDER: &str = "10.0.0.1:7787";

/// What that address is answered.
pub(crate) async fn call(
    from: &str,
    server: SocketAddr,
    path: &str,
    body: &Value,
) -> (u16, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = format!("{from}:0").parse().expect("an address");
    socket.bind(from).expect("an address of this host");
    let mut stream = socket.connect(server).await.expect("a connection");
    let body = body.to_string();
    let length = body.len();
    let text = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes())
        .await
        .expect("it is sent");
    let reply = answer(&mut stream).await;
    let status = reply.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), reply)
}

async fn advertise(from: &str, server: SocketAddr, holder: &str, group: &str) -> (u16, String) {
    let body = json!({"holder": holder, "keys": ["k"], "group": group});
    call(from, server, path::ADVERTISE, &body).await
}

async fn start(engine: Engine, flags: &[&str]) -> (Server, Database) {
    let database = engine.database();
    let url = database.url();
    let flags: Vec<_> = ["--database", &url]
        .into_iter()
        .chain(flags.iter().copied())
        .collect();
    (Server::start(&flags).await, database)
}

async fn only_an_advertisement_makes_a_node_or_a_group(engine: Engine) {
    let (server, database) = start(engine, &[]).await;
    let node = json!({"host": HOLDER, "Group": "g", "epoch": 1, "seq": 1});
    let numbered = json!({
        "holder": HOLDER, "keys": ["k"], "group": "g", "epoch": 1, "seq": 2
    });
    let fetch = json!({
        "holder": HOLDER, "group": "g", "keys": ["k"], "intent": "fetch",
        "fetches": [{"key": "k", "bytes": 0}]
    });
    // In a group that is not there, and in one that is.
    for rows in [(0, 0), (1, 1)] {
        let (status, reply) = server.post(path::KEEPALIVE, &node).await;
        assert_eq!((status, &reply["resync"]), (201, &json!(true)), "{reply}");
        assert_eq!(server.post(path::LEAVE, &node).await.0, 201);
        assert_eq!(server.post(path::PROGRESS, &fetch).await.0, 200);
        assert_eq!(server.post(path::FIND, &fetch).await.0, 200);
        let (status, reply) = server.post(path::ADVERTISE, &numbered).await;
        assert_eq!((status, &reply["resync"]), (201, &json!(true)), "{reply}");
        assert_eq!((database.count("space"), database.count("node")), rows);
        server.advertise("10.0.0.2:7787", &["k"]).await;
    }
    let set = json!({"holder": HOLDER, "keys": [], "group": "g", "epoch": 1, "seq": 1});
    assert_eq!(server.post(path::SYNC, &set).await.0, 201);
    let (_, reply) = server.post(path::KEEPALIVE, &node).await;
    assert_eq!(reply["resync"], Value::Null, "{reply}");
    assert_eq!((database.count("space"), database.count("node")), (1, 2));
}

async fn an_address_has_so_many_nodes_and_others_have_theirs(engine: Engine) {
    let flags = [
        "--nodes-per-address",
        "100",
        "--node-timeout",
        "10s",
        "--go-node-timeout",
        "10s",
    ];
    let (server, database) = start(engine, &flags).await;
    let invented: Vec<_> = (0..400)
        .map(|n| format!("10.9.{}.{}:1", n / 200, n % 200))
        .collect();
    for flood in invented.chunks(40) {
        let calls = flood
            .iter()
            .map(|holder| advertise("127.0.0.66", server.api, holder, "g"));
        for (status, reply) in futures_util::future::join_all(calls).await {
            let says = "127.0.0.66 has 100 nodes already";
            let is_told =
                status == 429 && reply.contains(says) && reply.contains("--nodes-per-address");
            assert!(status == 201 || is_told, "{reply}");
        }
    }
    assert_eq!(database.count("node"), 100);
    // Those that it has go on.
    let (status, _) = advertise("127.0.0.66", server.api, &invented[0], "g").await;
    assert_eq!(status, 201);
    let honest = async |server: &Server, holder: &str, group: &str| {
        let (status, reply) = advertise("127.0.0.1", server.api, holder, group).await;
        assert_eq!(status, 201, "{reply}");
    };
    honest(&server, HOLDER, "g").await;
    honest(&server, HOLDER, "new").await;
    // After a restart the nodes are still there, and the honest ones have room.
    let clock = server.clock.clone();
    server.stop().await;
    let url = database.url();
    let flags: Vec<_> = ["--database", &url].into_iter().chain(flags).collect();
    let server = Server::start_at(&flags, clock).await;
    honest(&server, "10.0.0.2:7787", "g").await;
    honest(&server, "10.0.0.2:7787", "newer").await;
    // What is silent goes, and with it what it counts for.
    server.clock.advance(Duration::from_secs(100));
    eventually("the invented nodes are removed", async || {
        server.clock.advance(Duration::from_millis(250));
        database.count("node") == 0
    })
    .await;
}

async fn a_full_group_takes_who_speaks_for_itself(engine: Engine) {
    let (server, database) = start(engine, &["--nodes-per-group", "2"]).await;
    for n in 1..=2 {
        let holder = format!("10.0.0.{n}:1");
        assert_eq!(
            advertise("127.0.0.66", server.api, &holder, "g").await.0,
            201
        );
    }
    let (status, reply) = advertise("127.0.0.67", server.api, "10.0.0.3:1", "g").await;
    assert_eq!(status, 429, "{reply}");
    assert!(reply.contains("the group has 2 nodes already"), "{reply}");
    let own = async |port| {
        let holder = format!("127.0.0.67:{port}");
        advertise("127.0.0.67", server.api, &holder, "g").await.0
    };
    assert_eq!(own(1).await, 201);
    assert_eq!(own(2).await, 429, "one of them");
    assert_eq!(own(1).await, 201);
    // Another group has its own room.
    assert_eq!(
        advertise("127.0.0.67", server.api, "10.0.0.3:1", "h")
            .await
            .0,
        201
    );
    assert_eq!(database.count("node"), 4);
}

async fn a_node_has_so_many_keys_over_all_its_calls(engine: Engine) {
    let (server, database) = start(engine, &["--keys-per-node", "100"]).await;
    let keys = |from: usize, to: usize| (from..to).map(|n| format!("k{n}")).collect::<Vec<_>>();
    let post = async |path, keys: Vec<String>, removed: Vec<String>| {
        let body = json!({"holder": HOLDER, "keys": keys, "removed": removed, "group": "g"});
        let (status, reply) = server.post(path, &body).await;
        if status != 201 {
            let message = reply["message"].as_str().expect("a message");
            assert!(message.contains("may have 100 keys") && message.contains("--keys-per-node"));
        }
        status
    };
    assert_eq!(post(path::ADVERTISE, keys(0, 60), keys(0, 0)).await, 201);
    assert_eq!(post(path::ADVERTISE, keys(60, 101), keys(0, 0)).await, 429);
    assert_eq!(post(path::SYNC, keys(0, 101), keys(0, 0)).await, 429);
    assert_eq!(database.count("holding"), 60);
    // The same ones again are no more, and there is room up to the last.
    assert_eq!(post(path::ADVERTISE, keys(0, 60), keys(0, 0)).await, 201);
    assert_eq!(post(path::ADVERTISE, keys(60, 100), keys(0, 0)).await, 201);
    assert_eq!(post(path::ADVERTISE, keys(100, 101), keys(0, 0)).await, 429);
    assert_eq!(post(path::ADVERTISE, keys(0, 0), keys(50, 60)).await, 201);
    assert_eq!(post(path::ADVERTISE, keys(100, 101), keys(0, 0)).await, 201);
    assert_eq!(post(path::SYNC, keys(200, 300), keys(0, 0)).await, 201);
    assert_eq!(database.count("holding"), 100);
}

async fn the_nodes_of_an_address_have_so_many_keys(engine: Engine) {
    let (server, database) = start(engine, &["--keys-per-address", "100"]).await;
    let post = async |from, path, node: usize, count: usize| {
        let keys: Vec<_> = (0..count).map(|n| format!("k{n}")).collect();
        let holder = format!("10.0.0.{node}:1");
        let body = json!({"holder": holder, "keys": keys, "group": "g"});
        call(from, server.api, path, &body).await
    };
    let own = "127.0.0.66";
    assert_eq!(post(own, path::SYNC, 1, 60).await.0, 201);
    let (status, reply) = post(own, path::SYNC, 2, 41).await;
    assert_eq!(status, 429);
    assert!(reply.contains("more than 100 keys") && reply.contains("--keys-per-address"));
    assert_eq!(post(own, path::SYNC, 2, 40).await.0, 201);
    assert_eq!(post(own, path::ADVERTISE, 3, 1).await.0, 429);
    // The same sets again, and smaller ones, are taken; what that leaves is room.
    assert_eq!(post(own, path::SYNC, 1, 60).await.0, 201);
    assert_eq!(post(own, path::SYNC, 1, 10).await.0, 201);
    assert_eq!(post(own, path::SYNC, 3, 50).await.0, 201);
    // Another address has its own, and what it changes is its own.
    assert_eq!(post("127.0.0.67", path::SYNC, 4, 40).await.0, 201);
    assert_eq!(post("127.0.0.67", path::SYNC, 3, 50).await.0, 201);
    assert_eq!(post("127.0.0.67", path::SYNC, 5, 11).await.0, 429);
    assert_eq!(post(own, path::SYNC, 5, 50).await.0, 201);
    assert_eq!(database.count("holding"), 10 + 40 + 50 + 40 + 50);
}

/// The space's number, and whether it is marked as gone.
fn space(database: &Database, group: &str) -> (String, bool) {
    let sql = format!("SELECT id FROM space WHERE grp = '{group}'");
    let id = database.query(&sql).trim().to_owned();
    let marks = format!("space_gone WHERE id = {}", id.parse::<u32>().unwrap_or(0));
    (id, database.count(&marks) > 0)
}

async fn a_group_without_nodes_goes_and_comes_back(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let flags = [
        "--database",
        &url,
        "--node-timeout",
        "1s",
        "--go-node-timeout",
        "1s",
        "--groups-per-address",
        "2",
    ];
    let server = Server::start(&flags).await;
    let other = Server::start_at(&flags, server.clock.clone()).await;
    for group in ["a", "b"] {
        assert_eq!(
            advertise("127.0.0.66", server.api, HOLDER, group).await.0,
            201
        );
    }
    let (status, reply) = advertise("127.0.0.66", server.api, HOLDER, "c").await;
    assert_eq!(status, 429);
    assert!(reply.contains("nodes in 2 groups already") && reply.contains("--groups-per-address"));
    // Neither groups that are there, nor other addresses, are concerned.
    assert_eq!(
        advertise("127.0.0.66", server.api, "10.0.0.2:1", "a")
            .await
            .0,
        201
    );
    assert_eq!(
        advertise("127.0.0.67", server.api, HOLDER, "c").await.0,
        201
    );
    let (number, _) = space(&database, "a");
    eventually("the groups are gone", async || {
        server.clock.advance(Duration::from_millis(150));
        database.count("space_gone") == 3
    })
    .await;
    assert_eq!(database.count("node"), 0);
    // The same group comes back with its number, whichever instance is told of it.
    assert_eq!(advertise("127.0.0.68", other.api, HOLDER, "a").await.0, 201);
    assert_eq!(space(&database, "a"), (number, false));
    let find = "/api/v1/distribution/findkey?key=k&group=a&request_host=10.0.0.9";
    for server in [&server, &other] {
        eventually("its node is found", async || {
            server.get(find).await.0 == 200
        })
        .await;
    }
}

async fn the_number_of_a_group_that_is_gone_is_given_again(engine: Engine) {
    let (server, database) =
        start(engine, &["--node-timeout", "1s", "--go-node-timeout", "1s"]).await;
    assert_eq!(
        advertise("127.0.0.66", server.api, HOLDER, "a").await.0,
        201
    );
    let (number, _) = space(&database, "a");
    eventually("the group is gone", async || {
        server.clock.advance(Duration::from_millis(150));
        space(&database, "a").1
    })
    .await;
    // For an hour it is its own.
    assert_eq!(
        advertise("127.0.0.66", server.api, HOLDER, "b").await.0,
        201
    );
    assert_ne!(space(&database, "b").0, number);
    server.clock.advance(Duration::from_secs(3601));
    assert_eq!(
        advertise("127.0.0.66", server.api, HOLDER, "c").await.0,
        201
    );
    assert_eq!(space(&database, "c"), (number, false));
    assert_eq!(space(&database, "a").0, "");
    let find = "/api/v1/distribution/findkey?key=k&request_host=10.0.0.9&group=";
    assert_eq!(server.get(&format!("{find}c")).await.0, 200);
    eventually("nothing is known of the old one", async || {
        server.get(&format!("{find}a")).await.0 == 404
    })
    .await;
}

async fn groups_that_are_not_listed_are_refused(engine: Engine) {
    let (server, database) = start(engine, &["--groups", "g,h"]).await;
    for (group, wanted) in [("g", 201), ("h", 201), ("i", 400)] {
        let (status, reply) = advertise("127.0.0.66", server.api, HOLDER, group).await;
        assert_eq!(status, wanted, "{reply}");
        let node = json!({"host": HOLDER, "Group": group});
        assert_eq!(server.post(path::KEEPALIVE, &node).await.0, wanted);
    }
    let (status, _) = server
        .get("/api/v1/distribution/findkey?key=k&group=i")
        .await;
    assert_eq!(status, 400);
    assert_eq!(database.count("space"), 2);
}

/// The flood of an address that nothing stands in the way of but the server's own bounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flood_of_nodes_and_groups_there_is_room_for_others() {
    let database = Engine::Sqlite.database();
    let url = database.url();
    let flags = ["--database", url.as_str()];
    let server = Process::start(&flags);
    eventually("it answers", async || server.find("k").await.is_some()).await;
    let mut refused = 0;
    for chunk in 0..50_u32 {
        let calls = (0..100_u32).map(|n| {
            let n = chunk * 100 + n;
            let holder = format!("10.{}.{}.{}:1", 100 + n / 65_536, n / 256 % 256, n % 256);
            let (group, api) = (format!("group-{n}"), server.api);
            async move { advertise("127.0.0.66", api, &holder, &group).await.0 }
        });
        for status in futures_util::future::join_all(calls).await {
            assert!(status == 201 || status == 429, "{status}");
            refused += usize::from(status == 429);
        }
    }
    for chunk in 0..50_u32 {
        let calls = (0..100_u32).map(|n| {
            let n = chunk * 100 + n;
            let holder = format!("10.{}.{}.{}:1", 200 + n / 65_536, n / 256 % 256, n % 256);
            let api = server.api;
            async move { advertise("127.0.0.66", api, &holder, "group-0").await.0 }
        });
        let replies = futures_util::future::join_all(calls).await;
        refused += replies.into_iter().filter(|status| *status == 429).count();
    }
    assert_eq!(
        (database.count("space"), database.count("node")),
        (32, 4096)
    );
    assert_eq!(refused, 10_000 - 4096);
    let log = server.log();
    let told = log.iter().filter(|line| line.contains("was not taken"));
    assert!((1..=2).contains(&told.count()), "{log:#?}");
    let (_, page) = server.admin("/metrics").await;
    for cap in ["nodes_per_address", "groups_per_address"] {
        let series = format!("piccolo_server_caps_refused_total{{cap=\"{cap}\"}}");
        assert!(page.contains(&series), "{page}");
    }
    let honest = async |server: &Process| {
        for group in ["g", "group-0"] {
            let reply = advertise("127.0.0.1", server.api, HOLDER, group).await;
            assert_eq!(reply.0, 201, "{}", reply.1);
        }
        assert_eq!(server.find("k").await, Some(200));
    };
    honest(&server).await;
    assert!(server.terminate().success());
    let server = Process::start(&flags);
    eventually("it answers", async || server.find("k").await.is_some()).await;
    honest(&server).await;
    let reply = advertise("127.0.0.1", server.api, HOLDER, "newer").await;
    assert_eq!(reply.0, 201, "{}", reply.1);
}

/// The full size of what the tests above show: some minutes, so it is run by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "by hand: a million calls"]
async fn a_million_invented_nodes_and_five_thousand_groups_leave_room_for_others() {
    const NODES: u32 = 1_000_000;
    const GROUPS: u32 = 5_000;
    const CONNECTIONS: u16 = 32;
    let (server, database) = start(Engine::Sqlite, &[]).await;
    let api = server.api;
    let flood = (0..u32::from(CONNECTIONS)).map(async |first| {
        let mut caller = Caller::from("127.0.0.66", api).await;
        let mut taken = 0_u32;
        for n in (first..NODES + GROUPS).step_by(CONNECTIONS.into()) {
            let group = n
                .checked_sub(NODES)
                .map_or_else(|| "g".to_owned(), |n| format!("g{n}"));
            let holder = std::net::Ipv4Addr::from_bits(0x0A00_0000 + n);
            let body = json!({"holder": format!("{holder}:1"), "keys": ["k"], "group": group});
            match caller.post(path::ADVERTISE, &body).await {
                201 => taken += 1,
                status => assert_eq!(status, 429),
            }
        }
        taken
    });
    let taken: u32 = futures_util::future::join_all(flood)
        .await
        .into_iter()
        .sum();
    let nodes = database.count("node");
    println!(
        "{taken} of {} calls taken, {nodes} nodes kept",
        NODES + GROUPS
    );
    assert!(nodes < 10_000, "{nodes}");
    let honest = async |server: &Server, holder: &str, group: &str| {
        let (status, reply) = advertise("127.0.0.1", server.api, holder, group).await;
        assert_eq!(status, 201, "{reply}");
    };
    honest(&server, "172.16.0.1:7787", "g").await;
    honest(&server, "172.16.0.1:7787", "new").await;
    let clock = server.clock.clone();
    server.stop().await;
    let server = Server::start_at(&["--database", &database.url()], clock).await;
    honest(&server, "172.16.0.2:7787", "g").await;
    honest(&server, "172.16.0.2:7787", "newer").await;
}

/// Calls over one connection, from one address.
struct Caller(tokio::io::BufStream<tokio::net::TcpStream>);

impl Caller {
    async fn from(address: &str, server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let from = format!("{address}:0").parse().expect("an address");
        socket.bind(from).expect("an address of this host");
        let stream = socket.connect(server).await.expect("a connection");
        Self(tokio::io::BufStream::new(stream))
    }

    /// The status of the answer.
    async fn post(&mut self, path: &str, body: &Value) -> u16 {
        use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.0
            .write_all((head + &body).as_bytes())
            .await
            .expect("it is sent");
        self.0.flush().await.expect("it is sent");
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.expect("a head");
            match line.trim_end().split_once(' ') {
                None => break,
                Some(("HTTP/1.1", rest)) => status = rest[..3].parse().expect("a status"),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length:") => {
                    length = value.parse().expect("a length");
                }
                Some(_) => {}
            }
        }
        let mut rest = vec![0; length];
        self.0.read_exact(&mut rest).await.expect("the body");
        status
    }
}
