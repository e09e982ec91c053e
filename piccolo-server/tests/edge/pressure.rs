//! What happens when another transaction holds the rows that changes wait for.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use piccolo_api::path;
use serde_json::json;
use testbed::SqlServer;

use crate::{
    engine::{Engine, on_engines},
    operations::page,
    process::Process,
    raw::exchange,
    server::eventually,
};

on_engines!(servers:
    a_change_waits_for_a_lock_and_is_tried_again,
    a_change_that_always_meets_another_is_told_to_come_again,
    more_than_may_wait_is_refused_and_counted,
    calls_under_way_are_answered_before_it_ends,
);

/// A transaction that holds the row of the only node; dropping it ends its client.
struct Lock(Child);

impl Lock {
    async fn take(database: &SqlServer, seconds: u32) -> Self {
        let sql = format!(
            "USE piccolo; BEGIN; SELECT seen FROM node FOR UPDATE; DO SLEEP({seconds}); ROLLBACK"
        );
        let client = database.client(&sql).stdout(Stdio::null()).spawn();
        let lock = Self(client.expect("the client runs"));
        let free = "SELECT seen FROM piccolo.node FOR UPDATE SKIP LOCKED";
        eventually("the row is locked", async || {
            database.execute(free).expect("an answer").trim().is_empty()
        })
        .await;
        lock
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // One that has ended is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn counted(server: &Process, name: &str) -> f64 {
    page(server).await.get(name).copied().unwrap_or_default()
}

async fn a_change_waits_for_a_lock_and_is_tried_again(engine: Engine) {
    let (database, url) = engine.server();
    let server = Process::start(&["--database", &url]);
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    let conflicts = "piccolo_server_transaction_conflicts_total";
    assert!(counted(&server, conflicts).await < 1.0);
    let _lock = Lock::take(&database, 5).await;
    assert_eq!(server.advertise("10.0.0.1:1", "l").await, Some(201));
    assert!(counted(&server, conflicts).await >= 1.0);
    assert_eq!(server.find("l").await, Some(200));
}

/// As members of a cluster say that another one's change came first: Galera, and Group Replication.
async fn a_change_that_always_meets_another_is_told_to_come_again(engine: Engine) {
    let (database, url) = engine.server();
    let server = Process::start(&["--database", &url]);
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    let conflicts = "piccolo_server_transaction_conflicts_total";
    for (state, number) in [("40001", 1213), ("40000", 3101)] {
        let before = counted(&server, conflicts).await;
        let meet = format!(
            "USE piccolo; CREATE TRIGGER meet BEFORE INSERT ON holding FOR EACH ROW \
             SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {number}"
        );
        database.execute(&meet).expect("a trigger");
        let key = number.to_string();
        let change = call("10.0.0.1:1", std::slice::from_ref(&key));
        let reply = exchange(server.api, &change).await;
        assert!(reply.starts_with("HTTP/1.1 503"), "{number}: {reply}");
        assert!(
            reply.contains("\r\nretry-after: 1\r\n"),
            "{number}: {reply}"
        );
        assert!(counted(&server, conflicts).await - before > 5.0, "{number}");
        // It is no outage: others are not kept from the database.
        assert_eq!(server.find("nobody").await, Some(404));
        let part = "DROP TRIGGER piccolo.meet";
        database.execute(part).expect("it goes");
        let reply = exchange(server.api, &change).await;
        assert!(reply.starts_with("HTTP/1.1 201"), "{number}: {reply}");
        assert_eq!(server.find(&key).await, Some(200));
    }
}

async fn more_than_may_wait_is_refused_and_counted(engine: Engine) {
    let (database, url) = engine.server();
    let server = Process::start(&["--database", &url]);
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    let _lock = Lock::take(&database, 60).await;
    let waiting = call("10.0.0.1:1", &["l".to_owned()]);
    let waiting = Box::pin(exchange(server.api, &waiting));
    // The first one of all is in the transaction that waits for the row.
    let mut waiting = futures_util::future::maybe_done(waiting);
    eventually("the change waits", async || {
        let _ = futures_util::poll!(&mut waiting);
        somebody_waits(&database)
    })
    .await;
    too_many_are_refused(&server).await;
}

#[tokio::test]
async fn more_than_may_wait_for_the_file_is_refused_and_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("db");
    let url = format!("sqlite:{}", file.display());
    let server = Process::start(&["--database", &url]);
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    let _lock = lock_file(&file);
    too_many_are_refused(&server).await;
}

async fn calls_under_way_are_answered_before_it_ends(engine: Engine) {
    let (database, url) = engine.server();
    let server = Process::start(&["--database", &url]);
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    let _lock = Lock::take(&database, 3).await;
    let waiting = call("10.0.0.1:1", &["l".to_owned()]);
    let ask = async {
        eventually("the change waits", async || somebody_waits(&database)).await;
        server.ask_to_end();
    };
    let (reply, ()) = tokio::join!(exchange(server.api, &waiting), ask);
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    assert!(server.end().success());
    let held = database.execute("SELECT COUNT(*) FROM piccolo.holding");
    assert_eq!(held.expect("an answer").trim(), "2");
}

/// An advertise of a Go agent.
fn call(holder: &str, keys: &[String]) -> String {
    let body = json!({"holder": holder, "keys": keys, "group": "g"}).to_string();
    let (path, length) = (path::ADVERTISE, body.len());
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// Whether a transaction waits for another one's row.
fn somebody_waits(database: &SqlServer) -> bool {
    let waits = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
    let waits = database.execute(waits).expect("an answer");
    waits.trim().ends_with("\t1")
}

/// Holds the file that no other transaction writes meanwhile.
fn lock_file(file: &Path) -> Lock {
    let mut client = Command::new("sqlite3")
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sqlite3 runs");
    let stdin = client.stdin.as_mut().expect("an input");
    let sql = b".timeout 30000\nBEGIN IMMEDIATE;\nSELECT 'locked';\n";
    stdin.write_all(sql).expect("it is sent");
    let mut line = String::new();
    let output = client.stdout.take().expect("an output");
    let read = BufReader::new(output).read_line(&mut line);
    read.expect("a line");
    assert_eq!(line, "locked\n");
    Lock(client)
}

/// While nothing is written: of more calls than may wait some are told at once to come again.
async fn too_many_are_refused(server: &Process) {
    let refused = "piccolo_server_changes_refused_total";
    assert!(counted(server, refused).await < 1.0);
    // Each call has as many keys as one may have, and a million may wait.
    let keys: Vec<_> = (0..20_000).map(|n| n.to_string()).collect();
    let replies = (0..60).map(|node| {
        let call = call(&format!("10.0.{node}.1:1"), &keys);
        async move { exchange(server.api, &call).await }
    });
    let mut replies: FuturesUnordered<_> = replies.collect();
    loop {
        let reply = replies.next().await.expect("some are too many");
        assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
        assert!(reply.contains("\r\nretry-after: 1\r\n"), "{reply}");
        if reply.contains("too many changes are waiting") {
            break;
        }
        // Where this machine takes seconds for as many keys, the first ones have waited too long.
        assert!(reply.contains("could not be stored"), "{reply}");
    }
    assert!(counted(server, refused).await >= 1.0);
}
