//! Whatever dies at whatever moment: what was answered 201 is found afterwards.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use daemon::scope::Scope;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use piccolo_api::path;
use serde_json::json;
use tracing::Span;

use crate::{
    engine::{Database, Engine, on_engines},
    process::Process,
    server::eventually,
};

on_engines!(all:
    killing_the_server_loses_nothing,
    killing_one_of_two_servers_loses_nothing,
    it_ends_in_time_and_writes_down_the_last_signs_of_life,
    two_servers_write_the_same_nodes;
    servers: killing_the_database_loses_nothing,
);

const CALLERS: usize = 1000;
/// Something is killed once this number of further changes, or up to three times it, is acknowledged.
const MIDDLE: usize = 600;

/// Nodes whose rows say another number of keys than they have.
const WRONG_COUNTS: &str = "SELECT COUNT(*) FROM node WHERE held <> (SELECT COUNT(*) FROM holding \
    WHERE holding.space = node.space AND holding.holder = node.holder)";

/// Calls of many agents at once, by turns to each server, each making one key after another known
/// and looking for it.
struct Storm {
    scope: Scope,
    known: Arc<Mutex<Known>>,
    count: Arc<AtomicUsize>,
}

/// What the agents were promised.
#[derive(Default)]
struct Known {
    held: BTreeSet<String>,
    gone: BTreeSet<String>,
}

/// How an agent makes its keys known.
#[derive(Clone, Copy)]
enum Manner {
    /// As Go agents do.
    Advertises,
    Syncs,
    /// In numbered deltas, each of which removes a key as well.
    Deltas,
}

/// One agent, and what it wants the servers to have of it.
struct Agent {
    number: usize,
    manner: Manner,
    keys: Vec<String>,
    version: (u64, u64),
    /// Whether the last change was taken: only then is a delta understood.
    continues: bool,
}

impl Agent {
    fn new(number: usize) -> Self {
        let manner = [Manner::Advertises, Manner::Syncs, Manner::Deltas][number % 3];
        Self {
            number,
            manner,
            keys: Vec::new(),
            version: (1, 0),
            continues: false,
        }
    }

    /// Has one more key, and one less where it has many; says so. Gives the key that it lost.
    async fn step(&mut self, server: &Process, n: usize) -> (bool, Option<String>) {
        let key = format!("key-{}-{n}", self.number);
        self.keys.push(key.clone());
        let lost = match self.manner {
            Manner::Deltas if self.keys.len() > 1 => Some(self.keys.remove(0)),
            _ => None,
        };
        let holder = format!("10.1.{}.{}:1", self.number / 250, self.number % 250 + 1);
        let mut call = json!({"holder": holder, "keys": self.keys, "group": "g"});
        let mut to = path::SYNC;
        match self.manner {
            Manner::Advertises => {
                call["keys"] = json!([key]);
                to = path::ADVERTISE;
            }
            Manner::Syncs => {}
            Manner::Deltas => {
                // A whole set begins a new life of the agent.
                let (epoch, seq) = self.version;
                self.version = (epoch + u64::from(!self.continues), seq + 1);
                if self.continues {
                    call["keys"] = json!([key]);
                    call["removed"] = json!(lost.as_slice());
                    to = path::ADVERTISE;
                }
                (call["epoch"], call["seq"]) = (self.version.0.into(), self.version.1.into());
            }
        }
        self.continues = server.acknowledged(to, &call).await;
        (self.continues, lost)
    }

    /// What it was promised when its last change, with that key, was taken.
    fn promised(&self, last: &str) -> Vec<String> {
        match self.manner {
            Manner::Advertises => vec![last.to_owned()],
            Manner::Syncs | Manner::Deltas => self.keys.clone(),
        }
    }
}

impl Storm {
    fn begin(servers: &[Arc<Process>]) -> Self {
        let (scope, _deaths) = Scope::new();
        let storm = Self {
            scope,
            known: Arc::default(),
            count: Arc::default(),
        };
        for caller in 0..CALLERS {
            let (servers, known) = (servers.to_vec(), Arc::clone(&storm.known));
            let (count, scope) = (Arc::clone(&storm.count), storm.scope.clone());
            storm.scope.task(Span::none(), async move {
                let mut agent = Agent::new(caller);
                for n in 0.. {
                    let server = &servers[(caller + n) % servers.len()];
                    let key = format!("key-{caller}-{n}");
                    // From here on nobody promises any more that it is there.
                    if let (Manner::Deltas, Some(last)) = (agent.manner, agent.keys.first()) {
                        known.lock().held.remove(last);
                    }
                    let (taken, lost) = agent.step(server, n).await;
                    if taken {
                        let mut known = known.lock();
                        known.held.extend(agent.promised(&key));
                        known.gone.extend(lost);
                        count.fetch_add(1, Relaxed);
                    }
                    if scope.is_draining() {
                        return;
                    }
                    if server.find(&key).await.is_none() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            });
        }
        storm
    }

    /// Waits for some moment.
    async fn moment(&self) {
        let random = usize::try_from(RandomState::new().hash_one(()) >> 32).expect("32 bits");
        let until = self.count.load(Relaxed) + MIDDLE + random % (MIDDLE * 2);
        eventually("the storm has begun", async || {
            self.count.load(Relaxed) >= until
        })
        .await;
    }

    async fn end(self) -> Known {
        self.scope.drain();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.scope.finished()).await;
        ended.expect("the storm ends");
        std::mem::take(&mut *self.known.lock())
    }
}

async fn check(server: &Process, known: &Known) {
    // Of what was acknowledged, deltas have removed some.
    assert!(known.held.len() >= MIDDLE / 3);
    let finds = known.held.iter();
    let finds: Vec<_> = finds
        .map(|key| async move { (key, server.find(key).await) })
        .collect();
    let mut finds = stream::iter(finds).buffer_unordered(32);
    while let Some((key, found)) = finds.next().await {
        assert_eq!(found, Some(200), "{key} of {} is lost", known.held.len());
    }
    // A server remembers for some seconds what it was told.
    for key in known.gone.iter().take(300) {
        eventually(key, async || server.find(key).await == Some(404)).await;
    }
}

/// A handle that kills the process; several may exist.
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
    let storm = Storm::begin(&[Arc::clone(&server)]);
    storm.moment().await;
    kill(&server);
    let known = storm.end().await;
    let again = Process::start(&["--database", &url]);
    check(&again, &known).await;
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
    let servers = [0, 1].map(|_| Arc::new(Process::start(&["--database", &url])));
    let storm = Storm::begin(&servers);
    storm.moment().await;
    kill(&servers[0]);
    // The agents go on with the other one.
    storm.moment().await;
    let known = storm.end().await;
    // It has heard of all nodes by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    check(&servers[1], &known).await;
    assert_eq!(database.query(WRONG_COUNTS).trim(), "0");
}

async fn killing_the_database_loses_nothing(engine: Engine) {
    let mut database = engine.database();
    let url = database.url();
    let servers = [0, 1].map(|_| Arc::new(Process::start(&["--database", &url])));
    let storm = Storm::begin(&servers);
    for _ in 0..2 {
        storm.moment().await;
        let Database::Server(server) = &mut database else {
            panic!("it was asked for");
        };
        server.kill();
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.resume().expect("it starts again");
    }
    // They take keys again by themselves, in the middle of the same calls.
    storm.moment().await;
    let known = storm.end().await;
    // What one server was told the other finds once it looks again where nobody had the key.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for server in &servers {
        check(server, &known).await;
    }
    assert_eq!(database.query(WRONG_COUNTS).trim(), "0");
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
