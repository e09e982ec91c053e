//! Whatever dies at whatever moment: what was answered 201 is found afterwards.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use daemon::scope::Scope;
use piccolo_api::path;
use tracing::Span;

use crate::{
    engine::{Database, Engine, on_both_engines},
    process::Process,
    server::eventually,
};

on_both_engines!(
    killing_the_server_loses_nothing,
    killing_one_of_two_servers_loses_nothing,
    it_ends_in_time_and_writes_down_the_last_signs_of_life,
    two_servers_write_the_same_nodes,
);

const CALLERS: usize = 1000;
/// So many are acknowledged when something is killed.
const MIDDLE: usize = 700;

/// Nodes whose rows say another number of keys than they have.
const WRONG_COUNTS: &str = "SELECT COUNT(*) FROM node WHERE held <> (SELECT COUNT(*) FROM holding \
    WHERE holding.space = node.space AND holding.holder = node.holder)";

/// Calls of many agents at once, each advertising one key after another and looking for it.
struct Storm {
    scope: Scope,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    count: Arc<AtomicUsize>,
}

impl Storm {
    fn begin(server: &Arc<Process>) -> Self {
        let (scope, _deaths) = Scope::new();
        let storm = Self {
            scope,
            acknowledged: Arc::default(),
            count: Arc::default(),
        };
        for caller in 0..CALLERS {
            let (server, acknowledged) = (Arc::clone(server), Arc::clone(&storm.acknowledged));
            let (count, scope) = (Arc::clone(&storm.count), storm.scope.clone());
            storm.scope.task(Span::none(), async move {
                let holder = format!("10.1.{}.{}:1", caller / 250, caller % 250 + 1);
                for n in 0.. {
                    let key = format!("key-{caller}-{n}");
                    if server.advertise(&holder, &key).await == Some(201) {
                        acknowledged.lock().expect("the list").insert(key.clone());
                        count.fetch_add(1, Relaxed);
                    }
                    if scope.is_draining() {
                        return;
                    }
                    server.find(&key).await;
                }
            });
        }
        storm
    }

    async fn middle(&self) {
        eventually("the storm is under way", async || {
            self.count.load(Relaxed) >= MIDDLE
        })
        .await;
    }

    async fn end(self) -> BTreeSet<String> {
        self.scope.drain();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.scope.finished()).await;
        ended.expect("the storm ends");
        std::mem::take(&mut *self.acknowledged.lock().expect("the list"))
    }
}

async fn check(server: &Process, acknowledged: &BTreeSet<String>) {
    assert!(acknowledged.len() >= MIDDLE);
    for key in acknowledged {
        let found = server.find(key).await;
        assert_eq!(found, Some(200), "{key} of {} is lost", acknowledged.len());
    }
}

/// A handle that kills the process, whoever else has one.
fn kill(server: &Process) {
    let id = server.id().to_string();
    let kill = std::process::Command::new("kill")
        .args(["-KILL", &id])
        .status();
    assert!(kill.expect("kill runs").success());
}

async fn killing_the_server_loses_nothing(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let server = Arc::new(Process::start(&["--database", &url]));
    let storm = Storm::begin(&server);
    storm.middle().await;
    kill(&server);
    let acknowledged = storm.end().await;
    let again = Process::start(&["--database", &url]);
    check(&again, &acknowledged).await;
    assert_eq!(database.query(WRONG_COUNTS).trim(), "0");
}

/// Whatever the order: no call fails, and each node's row says what the node has.
async fn two_servers_write_the_same_nodes(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let servers = [0, 1].map(|_| Process::start(&["--database", &url]));
    let calls = (0..400).map(|n: usize| {
        let server = &servers[n % 2];
        let holder = format!("10.0.0.{}:1", n % 7 + 1);
        let keys: Vec<_> = (0..60)
            .map(|key| format!("key-{}", (n * 13 + key) % 200))
            .collect();
        async move {
            let call = serde_json::json!({"holder": holder, "keys": keys, "group": "g"});
            let path = [path::SYNC, path::ADVERTISE, path::SYNC][n % 3];
            server.post(path, &call).await
        }
    });
    for status in futures_util::future::join_all(calls).await {
        assert_eq!(status, Some(201));
    }
    assert_eq!(database.query(WRONG_COUNTS).trim(), "0");
    assert_eq!(database.count("node"), 7);
}

async fn killing_one_of_two_servers_loses_nothing(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let one = Arc::new(Process::start(&["--database", &url]));
    let other = Process::start(&["--database", &url]);
    let storm = Storm::begin(&one);
    storm.middle().await;
    kill(&one);
    let acknowledged = storm.end().await;
    // It has heard of all nodes by then.
    let last = acknowledged.last().expect("some").clone();
    eventually("the other one knows", async || {
        other.find(&last).await == Some(200)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    check(&other, &acknowledged).await;
}

#[tokio::test]
async fn killing_the_database_loses_nothing() {
    let mut database = Engine::MariaDb.database();
    let url = database.url();
    let server = Arc::new(Process::start(&["--database", &url]));
    let storm = Storm::begin(&server);
    storm.middle().await;
    let Database::MariaDb(mariadb) = &mut database else {
        panic!("it was asked for");
    };
    mariadb.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    mariadb.resume().expect("MariaDB starts again");
    // It takes keys again by itself, in the middle of the same calls.
    let before = storm.count.load(Relaxed);
    eventually("the server goes on", async || {
        storm.count.load(Relaxed) > before + 100
    })
    .await;
    let acknowledged = storm.end().await;
    check(&server, &acknowledged).await;
}

async fn it_ends_in_time_and_writes_down_the_last_signs_of_life(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let server = Process::start(&["--database", &url]);
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    let seen = || database.query("SELECT seen FROM node").trim().to_owned();
    let before = seen();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let alive = serde_json::json!({"host": "10.0.0.1:1", "Group": "g"});
    assert_eq!(server.post(path::KEEPALIVE, &alive).await, Some(201));
    let begin = std::time::Instant::now();
    assert!(server.terminate().success());
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(seen() > before);
}
