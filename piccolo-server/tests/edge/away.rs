//! The database goes away and comes back, and is changed by hand.

use std::time::{Duration, Instant};

use piccolo_api::path;
use serde_json::{Value, json};
use testbed::{Product, SqlServer};

use crate::{
    engine::{Engine, on_engines},
    process::{Process, program},
    proxy::Proxy,
    raw::exchange,
    server::{Server, eventually},
};

on_engines!(
    all: migrations_are_left_to_the_command;
    servers: finds_go_on_from_memory_and_writes_are_refused,
    an_outage_removes_no_node_that_lives,
    a_database_that_hangs_is_not_waited_for,
    connections_that_are_lost_without_a_word_are_replaced,
    connections_that_were_idle_for_too_long_are_replaced,
    a_server_that_takes_no_writes_any_more_is_left,
    what_waits_for_the_database_is_bounded,
    it_waits_for_a_database_that_is_not_there_yet,
    it_takes_the_turn_of_one_that_ended_while_it_changed_the_schema,
    it_ends_in_time_without_its_database,
    finds_are_answered_by_replicas,
    an_outage_is_told_of_once,
);

fn advertise(key: &str) -> Value {
    json!({"holder": "10.0.0.1:1", "keys": [key], "group": "g"})
}

async fn finds_go_on_from_memory_and_writes_are_refused(engine: Engine) {
    let (mut database, url) = engine.server();
    let server = Server::start(&["--database", &url]).await;
    server.advertise("10.0.0.1:1", &["k"]).await;
    assert_eq!(server.holders("k", "10.0.0.9").await, ["10.0.0.1:1"]);
    database.kill();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // Known holders are found, and known nodes live.
    assert_eq!(server.holders("k", "10.0.0.9").await, ["10.0.0.1:1"]);
    let alive = json!({"host": "10.0.0.1:1", "Group": "g"});
    assert_eq!(server.post(path::KEEPALIVE, &alive).await.0, 201);
    // What cannot be known or kept is refused, and soon.
    let begin = Instant::now();
    let reply = exchange(server.api, &post(path::ADVERTISE, &advertise("l"))).await;
    assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
    assert!(
        reply.to_lowercase().contains("\r\nretry-after: 1\r\n"),
        "{reply}"
    );
    assert!(reply.contains("the change could not be stored"), "{reply}");
    let (status, _) = server
        .get("/api/v1/distribution/findkey?key=new&group=g")
        .await;
    assert_eq!(status, 503);
    assert!(begin.elapsed() < Duration::from_secs(5));
    eventually("it says so, and stays ready", async || {
        let (status, page) = server.admin("/readyz?verbose").await;
        status == 200 && page.contains("[!]database default degraded: ")
    })
    .await;
    database.resume().expect("it starts again");
    eventually("it goes on by itself", async || {
        server.post(path::ADVERTISE, &advertise("l")).await.0 == 201
    })
    .await;
    assert_eq!(server.holders("l", "10.0.0.9").await, ["10.0.0.1:1"]);
    eventually("it says so", async || {
        let (_, page) = server.admin("/readyz?verbose").await;
        page.contains("[+]database default ok")
    })
    .await;
}

/// The one instance may not take for silent whom only the other one hears, and cannot tell it of.
async fn an_outage_removes_no_node_that_lives(engine: Engine) {
    const HOSTS: usize = 20;
    let (mut database, url) = engine.server();
    let timeouts = ["--node-timeout", "1s", "--go-node-timeout", "1s"];
    let flags = ["--database", url.as_str()];
    let flags: Vec<_> = flags.into_iter().chain(timeouts).collect();
    // The first one has the lease, and hears of no node.
    let first = Process::start(&flags);
    eventually("it is ready", async || {
        first.admin("/readyz").await.0 == 200
    })
    .await;
    let rows = |table: &str| {
        let count = database.execute(&format!("SELECT COUNT(*) FROM piccolo.{table}"));
        count.expect("an answer").trim().to_owned()
    };
    eventually("the first one removes what is silent", async || {
        rows("lease WHERE name = 'evict'") == "1"
    })
    .await;
    let second = Process::start(&flags);
    let call = |host: usize| json!({"host": format!("10.0.0.{host}:1"), "Group": "g", "epoch": 1, "seq": 1});
    for host in 1..=HOSTS {
        let mut call = call(host);
        call["holder"] = call["host"].clone();
        call["keys"] = json!(["k", "l", "m"]);
        assert_eq!(second.post(path::SYNC, &call).await, Some(201));
    }
    let live = async |time: Duration| {
        let begin = Instant::now();
        while begin.elapsed() < time {
            for host in 1..=HOSTS {
                assert_eq!(second.post(path::KEEPALIVE, &call(host)).await, Some(201));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    live(Duration::from_secs(1)).await;
    database.kill();
    live(Duration::from_secs(6)).await;
    database.resume().expect("it starts again");
    eventually("there is somebody to be removed", async || {
        live(Duration::ZERO).await;
        second.advertise("10.0.1.1:1", "k").await == Some(201)
    })
    .await;
    eventually("the first one removes what is silent", async || {
        live(Duration::from_millis(1)).await;
        let count =
            database.execute("SELECT COUNT(*) FROM piccolo.node WHERE holder = x'0A0001010001'");
        count.expect("an answer").trim() == "0"
    })
    .await;
    let count = database.execute("SELECT COUNT(*) FROM piccolo.holding");
    assert_eq!(count.expect("an answer").trim(), (HOSTS * 3).to_string());
    drop(first);
}

async fn a_database_that_hangs_is_not_waited_for(engine: Engine) {
    let (database, url) = engine.server();
    let server = Server::start(&["--database", &url]).await;
    server.advertise("10.0.0.1:1", &["k"]).await;
    database.freeze().expect("it halts");
    let (status, _) = server.post(path::ADVERTISE, &advertise("l")).await;
    assert_eq!(status, 503);
    // From then on nobody waits.
    let begin = Instant::now();
    for _ in 0..20 {
        let (status, _) = server.post(path::ADVERTISE, &advertise("l")).await;
        assert_eq!(status, 503);
    }
    assert!(
        begin.elapsed() < Duration::from_secs(9),
        "{:?}",
        begin.elapsed()
    );
    database.thaw().expect("it goes on");
    eventually("it goes on by itself", async || {
        server.post(path::ADVERTISE, &advertise("l")).await.0 == 201
    })
    .await;
}

/// Neither end of a connection is told that it is lost; all those that may read are.
async fn connections_that_are_lost_without_a_word_are_replaced(engine: Engine) {
    let (database, _) = engine.server();
    let proxy = Proxy::start(([127, 0, 0, 1], database.port()).into()).await;
    let url = format!("mysql://root@{}/piccolo", proxy.address);
    let flags = ["--database-connections", "2", "--find-cache-ttl", "0"];
    let flags: Vec<_> = ["--database", &url].into_iter().chain(flags).collect();
    let server = Server::start(&flags).await;
    server.advertise("10.0.0.1:1", &["k"]).await;
    assert_eq!(server.holders("k", "10.0.0.9").await, ["10.0.0.1:1"]);
    let find = "/api/v1/distribution/findkey?key=k&group=g&request_host=10.0.0.9";
    futures_util::future::join_all((0..8).map(|_| server.get(find))).await;
    proxy.lose();
    // Nor does anybody wait until it is known.
    let impatient = || tokio::time::timeout(Duration::from_millis(300), server.get(find));
    for reply in futures_util::future::join_all((0..8).map(|_| impatient())).await {
        assert!(reply.is_err(), "{reply:?}");
    }
    proxy.mend();
    eventually("it reads again", async || server.get(find).await.0 == 200).await;
    proxy.lose();
    for (status, _) in futures_util::future::join_all((0..8).map(|_| server.get(find))).await {
        assert_eq!(status, 503);
    }
    assert_eq!(server.post(path::ADVERTISE, &advertise("l")).await.0, 503);
    proxy.mend();
    eventually("it reads again", async || server.get(find).await.0 == 200).await;
    eventually("it writes again", async || {
        server.post(path::ADVERTISE, &advertise("l")).await.0 == 201
    })
    .await;
}

/// MariaDB closes them without a word; MySQL answers the next statement with a reason.
async fn connections_that_were_idle_for_too_long_are_replaced(engine: Engine) {
    let (database, url) = engine.server();
    let idle = "SET GLOBAL wait_timeout = 2";
    database.execute(idle).expect("it is set");
    let flags = ["--database", &url, "--find-cache-ttl", "0"];
    let server = Server::start(&flags).await;
    let find = "/api/v1/distribution/findkey?key=k&group=g&request_host=10.0.0.9";
    for _ in 0..2 {
        server.advertise("10.0.0.1:1", &["k"]).await;
        // At once, so that there are several connections.
        let finds = (0..8).map(|_| server.get(find));
        for (status, reply) in futures_util::future::join_all(finds).await {
            assert_eq!(status, 200, "{reply}");
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    server.advertise("10.0.0.1:1", &["l"]).await;
}

/// However many calls are refused meanwhile.
async fn an_outage_is_told_of_once(engine: Engine) {
    let (mut database, url) = engine.server();
    let server = Process::start(&["--database", &url]);
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    server.log();
    database.kill();
    for n in 0..200 {
        let refused = server.advertise("10.0.0.1:1", &n.to_string()).await;
        assert_eq!(refused, Some(503));
    }
    let lines = server.log();
    let is_own = |line: &&String| line.contains("WARN") && line.contains(" piccolo_server::");
    let own: Vec<_> = lines.iter().filter(is_own).collect();
    let refusals = own
        .iter()
        .filter(|line| line.contains("changes are refused"));
    assert_eq!(refusals.count(), 1, "{lines:#?}");
    // Keepalives and learned bandwidth are not shared either.
    assert!(own.len() <= 3, "{lines:#?}");
    assert!(
        !lines.iter().any(|line| line.contains("lost")),
        "{lines:#?}"
    );
    database.resume().expect("it starts again");
    let mut text = String::new();
    eventually(
        "it says that it is over, and how often it happened",
        async || {
            server.advertise("10.0.0.1:1", "l").await;
            text += &server.log().join("\n");
            text.contains("changes are taken again")
        },
    )
    .await;
    let (_, times) = text.rsplit_once(" times=").expect("a number of times");
    let times = times.split(' ').next().unwrap_or_default();
    assert!(times.parse::<u32>().expect("a number") >= 200, "{text}");
}

/// The primary of before: it takes no writes any more, and nobody has ended its connections.
async fn a_server_that_takes_no_writes_any_more_is_left(engine: Engine) {
    let (database, url) = engine.server();
    let server = Server::start(&["--database", &url]).await;
    server.advertise("10.0.0.1:1", &["k"]).await;
    // As an operator may, root can write all the same.
    let user = "CREATE USER agent@'127.0.0.1'; GRANT ALL ON piccolo.* TO agent@'127.0.0.1'";
    database.execute(user).expect("a user");
    let url = url.replace("root@", "agent@");
    let server = Server::start(&["--database", &url]).await;
    server.advertise("10.0.0.1:1", &["l"]).await;
    let connections = "SELECT COALESCE(MAX(id), 0) FROM information_schema.processlist \
        WHERE user = 'agent'";
    let before = database.execute(connections).expect("an answer");
    database
        .execute("SET GLOBAL read_only = 1")
        .expect("it is set");
    let (status, reply) = server.post(path::ADVERTISE, &advertise("m")).await;
    assert_eq!(status, 503, "{reply}");
    database
        .execute("SET GLOBAL read_only = 0")
        .expect("it is set");
    eventually("it goes on", async || {
        server.post(path::ADVERTISE, &advertise("m")).await.0 == 201
    })
    .await;
    let older = format!(
        "SELECT COUNT(*) FROM information_schema.processlist \
        WHERE user = 'agent' AND id <= {}",
        before.trim()
    );
    eventually("all connections are new", async || {
        server
            .get("/api/v1/distribution/findkey?key=new&group=g")
            .await;
        database.execute(&older).expect("an answer").trim() == "0"
    })
    .await;
}

async fn what_waits_for_the_database_is_bounded(engine: Engine) {
    let (database, url) = engine.server();
    let server = Server::start(&["--database", &url]).await;
    server.advertise("10.0.0.1:1", &["k"]).await;
    database.freeze().expect("it halts");
    let sync = |host: usize| {
        let keys: Vec<String> = (0..20_000).map(|n| format!("{n}")).collect();
        json!({"holder": format!("10.0.0.{host}:1"), "keys": keys, "group": "g"})
    };
    let calls = (1..=80).map(|host| {
        let (server, call) = (&server, sync(host));
        async move { server.post(path::SYNC, &call).await }
    });
    let replies = futures_util::future::join_all(calls).await;
    let full = |(status, reply): &&(u16, Value)| {
        let text = reply["message"].as_str().unwrap_or_default();
        *status == 503 && text.contains("too many changes are waiting")
    };
    assert!(replies.iter().all(|(status, _)| *status == 503));
    // 2^20 keys may wait. Where the calls are read slowly, the first ones have given up and made room.
    let refused = replies.iter().filter(full).count();
    assert!((1..=40).contains(&refused), "{refused}");
    database.thaw().expect("it goes on");
}

async fn it_waits_for_a_database_that_is_not_there_yet(engine: Engine) {
    let (mut database, url) = engine.server();
    database.kill();
    let server = Process::start(&["--database", &url]);
    let (status, page) = server.admin("/readyz").await;
    assert_eq!(status, 503);
    assert!(page.contains("[-]databases pending"), "{page}");
    let reply = exchange(server.api, &post(path::ADVERTISE, &advertise("k"))).await;
    assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
    assert!(reply.contains("its database is not there yet"), "{reply}");
    let counted = "piccolo_server_requests_total{route=\"advertise\",status=\"503\"} 1";
    assert!(server.admin("/metrics").await.1.contains(counted));
    database.resume().expect("it starts");
    eventually("it is ready", async || {
        server.admin("/readyz").await.0 == 200
    })
    .await;
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
}

async fn it_takes_the_turn_of_one_that_ended_while_it_changed_the_schema(engine: Engine) {
    let (database, url) = engine.server();
    let left = "CREATE TABLE piccolo.schema_turn \
        (id TINYINT UNSIGNED NOT NULL PRIMARY KEY, owner BIGINT NOT NULL, beat BIGINT NOT NULL); \
        INSERT INTO piccolo.schema_turn VALUES (1, 7, 7)";
    database.execute(left).expect("a turn");
    // For as long as the other one says that it is there, it waits.
    let (begin, there) = (Instant::now(), Duration::from_secs(12));
    let server = std::thread::scope(|scope| {
        scope.spawn(|| {
            while begin.elapsed() < there {
                std::thread::sleep(Duration::from_secs(2));
                let says = "UPDATE piccolo.schema_turn SET beat = beat + 1 WHERE id = 1";
                database.execute(says).expect("it says so");
            }
        });
        Process::start(&["--database", &url])
    });
    eventually("it is ready", async || {
        server.admin("/readyz").await.0 == 200
    })
    .await;
    assert!(begin.elapsed() > there, "{:?}", begin.elapsed());
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    let turns = "SELECT COUNT(*) FROM piccolo.schema_turn WHERE id = 1";
    eventually("it gives the turn back", async || {
        database.execute(turns).expect("an answer").trim() == "0"
    })
    .await;
}

async fn it_ends_in_time_without_its_database(engine: Engine) {
    let (mut database, url) = engine.server();
    let server = Process::start(&["--database", &url]);
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    database.kill();
    let begin = Instant::now();
    assert!(server.terminate().success());
    assert!(begin.elapsed() < Duration::from_secs(10));
}

async fn migrations_are_left_to_the_command(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let flags = ["--database", url.as_str(), "--no-migrate"];
    let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let refused = program(&flags).args(listen).output().expect("it runs");
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("run `piccolo-server migrate`"), "{said}");
    let migrated = program(&["migrate", "--database", &url])
        .output()
        .expect("it runs");
    assert!(migrated.status.success(), "{migrated:?}");
    let server = Server::start(&flags).await;
    server.advertise("10.0.0.1:1", &["k"]).await;
}

/// Finds are answered by a real replica, and by the primary when there is none.
async fn finds_are_answered_by_replicas(engine: Engine) {
    let settings = [
        "--innodb-buffer-pool-size=32M",
        "--log-bin",
        "--server-id=1",
    ];
    let settings: Vec<_> = settings
        .into_iter()
        .chain(gtids(engine).iter().copied())
        .collect();
    let primary = SqlServer::start_with(engine.product(), &settings).expect("it starts");
    let settings = [
        "--innodb-buffer-pool-size=32M",
        "--server-id=2",
        "--log-bin",
        // It follows when it is told to, and not when it is started again.
        match engine.product() {
            Product::MariaDb => "--skip-slave-start",
            Product::MySql(_) => "--skip-replica-start",
        },
    ];
    let settings: Vec<_> = settings
        .into_iter()
        .chain(gtids(engine).iter().copied())
        .collect();
    let mut replica = SqlServer::start_with(engine.product(), &settings).expect("it starts");
    let (follow, stop) = follow(&primary);
    replica.execute(&follow).expect("it follows");
    let url = primary.create("piccolo").expect("a database");
    let second = replica.url("piccolo");
    let flags = [
        "--database",
        &url,
        "--replica",
        &second,
        "--find-cache-ttl",
        "0",
    ];
    let server = Server::start(&flags).await;
    server.advertise("10.0.0.1:1", &["k"]).await;
    let finds = async |key| {
        let query = format!("/api/v1/distribution/findkey?key={key}&group=g&request_host=10.0.0.9");
        server.get(&query).await.0
    };
    // Until it has the tables the primary is asked.
    eventually("the replica has it", async || {
        let rows = replica.execute("SELECT COUNT(*) FROM piccolo.holding");
        rows.is_ok_and(|rows| rows.trim() == "1")
    })
    .await;
    assert_eq!(finds("k").await, 200);
    replica.execute(stop).expect("it stops");
    server.advertise("10.0.0.1:1", &["l"]).await;
    assert_eq!(finds("l").await, 404);
    replica.kill();
    eventually("the primary is asked", async || finds("l").await == 200).await;
    // It is asked again when it is back, and still has not heard of the last key.
    replica.resume().expect("it starts again");
    eventually("the replica is asked", async || finds("l").await == 404).await;
}

/// What makes a server number its changes, where it does not by itself.
fn gtids(engine: Engine) -> &'static [&'static str] {
    match engine.product() {
        Product::MariaDb => &[],
        Product::MySql(_) => &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"],
    }
}

/// What makes a replica follow a server, and what ends that.
fn follow(primary: &SqlServer) -> (String, &'static str) {
    let port = primary.port();
    match primary.product() {
        Product::MariaDb => (
            format!(
                "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, \
                 MASTER_USER='root', MASTER_USE_GTID=slave_pos; START SLAVE"
            ),
            "STOP SLAVE",
        ),
        Product::MySql(_) => (
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, \
                 SOURCE_USER='root', SOURCE_AUTO_POSITION=1; START REPLICA"
            ),
            "STOP REPLICA",
        ),
    }
}

#[tokio::test]
async fn contradicting_databases_are_refused() {
    let url = "mysql://root@127.0.0.1:1/piccolo".to_owned();
    let directory = tempfile::tempdir().expect("a directory");
    let file = format!("sqlite:{}", directory.path().join("db").display());
    for (flags, says) in [
        (
            vec!["--database", &url, "--database", &url],
            "is the second one for its group",
        ),
        (
            vec!["--database", &file, "--replica", &url],
            "only MySQL has them",
        ),
        (
            vec!["--database", &url, "--replica", &file],
            "takes another MySQL server",
        ),
        (
            vec!["--database", &url, "--replica", "g=mysql://h/d"],
            "is one of no database",
        ),
    ] {
        let output = program(&flags)
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(says),
            "{says}: {said}"
        );
    }
}

fn post(path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
