//! Servers over a Galera cluster whose members all take changes. By hand: `cargo xtask test --galera`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use piccolo_api::path;
use serde_json::{Value, json};
use testbed::{Galera, SqlServer};

use crate::{
    operations::page,
    process::{Process, program},
    raw::exchange,
    server::eventually,
};

/// For how long agents write before a member is killed, while it is away, and after it is back.
const PHASE: Duration = Duration::from_secs(10);
const PHASES: [&str; 4] = ["whole", "killed", "joining", "back"];
/// Few nodes and many callers, so that both servers change the same nodes all the time.
const NODES: usize = 12;
const CALLERS: usize = 24;
/// The files in `migrations/mysql`.
const MIGRATIONS: usize = 3;
const CONFLICTS: &str = "piccolo_server_transaction_conflicts_total";

/// What callers were answered.
#[derive(Debug, Default)]
struct Answers {
    statuses: BTreeMap<String, usize>,
    /// Holder and key.
    taken: Vec<(String, String)>,
    /// What was neither taken nor refused for now.
    bad: Vec<String>,
}

/// A cluster of three, unless none is wanted.
#[expect(clippy::print_stderr, reason = "the log of the tests is their output")]
fn cluster() -> Option<Galera> {
    if !Galera::is_wanted() {
        eprintln!(
            "NOT RUN: a cluster of databases is tried by hand, with `cargo xtask test --galera`"
        );
        return None;
    }
    Some(Galera::start(3).expect("a cluster"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_at_once_make_one_schema() {
    let Some(cluster) = cluster() else { return };
    for round in 0..10 {
        let name = format!("round_{round}");
        cluster.members[0].create(&name).expect("a database");
        let migrations = [0, 1, 2].map(|place| {
            let url = cluster.members[place].url(&name);
            let mut migrate = program(&["migrate", "--database", &url]);
            migrate
                .stderr(std::process::Stdio::piped())
                .spawn()
                .expect("it starts")
        });
        for migration in migrations {
            let ended = migration.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success(), "round {round}: {said}");
        }
        let sql = format!("SELECT COUNT(*), SUM(success) FROM {name}._sqlx_migrations");
        let made = cluster.members[2].execute(&sql).expect("an answer");
        assert_eq!(
            made.trim(),
            format!("{MIGRATIONS}\t{MIGRATIONS}"),
            "round {round}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_change_is_lost_when_a_member_dies() {
    let Some(cluster) = cluster() else { return };
    cluster.members[0].create("piccolo").expect("a database");
    // Both bring the schema up to date, each through a member of its own.
    let servers =
        [0, 1].map(|place| Process::start(&["--database", &cluster.members[place].url("piccolo")]));
    for server in &servers {
        eventually("it is ready", async || {
            server.admin("/readyz").await.0 == 200
        })
        .await;
    }
    let answers = Mutex::default();
    let cluster = storms(cluster, &servers, &answers).await;
    let answers = answers.into_inner();
    let bad = &answers.bad;
    assert!(bad.is_empty(), "{} bad: {:#?}", bad.len(), bad.first());
    for phase in PHASES {
        let is_of_phase = |(_, key): &(String, String)| key.starts_with(phase);
        let some = answers.taken.iter().any(is_of_phase);
        assert!(some, "nothing was taken: {phase}");
    }
    let mut conflicts = 0.0;
    for server in &servers {
        let page = page(server).await;
        conflicts += page.get(CONFLICTS).copied().unwrap_or_default();
    }
    assert!(conflicts > 0.0, "no server met the other one");
    check(&servers, &answers.taken).await;
    // Of two changes of one node that meet Galera now and then takes both, and then the node's row counts
    // one of them only. The audit puts that right, and what the node says next its set.
    let members: Vec<_> = cluster.members.iter().collect();
    eventually("rows say what is stored", async || {
        let rows = same_rows(&members, "the audit");
        rows.lines().all(|row| {
            let columns: Vec<_> = row.split('\t').collect();
            columns[1] == columns[2]
        })
    })
    .await;
    let sets = sync_all(&servers, &answers.taken).await;
    settle().await;
    let rows = same_rows(&members, "the end");
    let stored = rows.lines().map(|row| row.rsplit('\t').next());
    let mut stored: Vec<usize> = stored.flatten().flat_map(str::parse).collect();
    stored.sort_unstable();
    assert_eq!(stored, sets);
}

/// Writes while all are there, while one of the two members that are written to is killed, while it
/// copies another one's data, and afterwards.
async fn storms(cluster: Galera, servers: &[Process], answers: &Mutex<Answers>) -> Galera {
    let mut cluster = cluster;
    let [whole, killed, joining, back] = PHASES;
    storm(servers, whole, answers).await;
    settle().await;
    same_rows(&cluster.members.iter().collect::<Vec<_>>(), whole);
    let kill = async {
        tokio::time::sleep(PHASE / 10).await;
        cluster.members[1].kill();
    };
    tokio::join!(storm(servers, killed, answers), kill);
    settle().await;
    same_rows(&[&cluster.members[0], &cluster.members[2]], killed);
    let rejoin = tokio::task::spawn_blocking(move || {
        cluster.rejoin(1).expect("it joins again");
        cluster
    });
    let (cluster, ()) = tokio::join!(rejoin, storm(servers, joining, answers));
    for server in servers {
        eventually("both go on", async || {
            server.advertise("10.0.1.1:1", "k").await == Some(201)
        })
        .await;
    }
    storm(servers, back, answers).await;
    settle().await;
    cluster.expect("it joins again")
}

/// Until what one member was told the others have, and what one server was told the other one finds.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// Callers that each tell of one key of one of the nodes after another, by turns through each server.
#[expect(clippy::print_stderr, reason = "it is run by hand and watched")]
async fn storm(servers: &[Process], phase: &str, answers: &Mutex<Answers>) {
    let until = Instant::now() + PHASE;
    let callers = (0..CALLERS).map(|caller| call(caller, servers, phase, until, answers));
    join_all(callers).await;
    let statuses = &answers.lock().statuses;
    eprintln!("{phase}: answers so far {statuses:?}");
}

async fn call(
    caller: usize,
    servers: &[Process],
    phase: &str,
    until: Instant,
    answers: &Mutex<Answers>,
) {
    let mut n = caller;
    while Instant::now() < until {
        n += 1;
        let server = &servers[n % servers.len()];
        let holder = format!("10.0.0.{}:7787", n / servers.len() % NODES + 1);
        let key = format!("{phase}-{caller}-{n}");
        let body = json!({"holder": holder, "keys": [key], "group": "g"}).to_string();
        let (to, length) = (path::ADVERTISE, body.len());
        let request = format!(
            "POST {to} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let reply = exchange(server.api, &request).await;
        let status = reply.split(' ').nth(1).unwrap_or("none").to_owned();
        let is_taken = status == "201" && reply.contains("\"success\":true");
        let is_refused = status == "503" && reply.contains("\r\nretry-after: ");
        {
            let mut answers = answers.lock();
            *answers.statuses.entry(status).or_default() += 1;
            if is_taken {
                answers.taken.push((holder, key));
            } else if !is_refused {
                answers.bad.push(reply);
            }
        }
        if is_refused {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Both servers find it all.
async fn check(servers: &[Process], taken: &[(String, String)]) {
    let mut lost = Vec::new();
    for (holder, key) in taken {
        for server in servers {
            let query = format!("key={key}&group=g&count=100&request_host=10.9.9.9");
            let url = format!("http://{}{}?{query}", server.api, path::FIND_KEY);
            let reply = server.client.get(&url, PHASE).await.expect("a reply");
            let found: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let holders = found["holders"].as_array().cloned().unwrap_or_default();
            if !holders.iter().any(|found| found == holder.as_str()) {
                lost.push(format!("{holder} {key} at {}: {found}", server.api));
            }
        }
    }
    assert!(
        lost.is_empty(),
        "{} of {}: {:#?}",
        lost.len(),
        taken.len(),
        lost.first()
    );
}

/// Each node says what it has, by turns to each server. Gives how large the sets are, in order.
async fn sync_all(servers: &[Process], taken: &[(String, String)]) -> Vec<usize> {
    let mut sets = BTreeMap::<&str, Vec<&str>>::new();
    for (holder, key) in taken {
        sets.entry(holder).or_default().push(key);
    }
    // What callers said while both came back.
    sets.entry("10.0.1.1:1").or_default().push("k");
    let mut sizes: Vec<_> = sets.values().map(Vec::len).collect();
    sizes.sort_unstable();
    for (n, (holder, keys)) in sets.into_iter().enumerate() {
        let set = json!({"holder": holder, "keys": keys, "group": "g"});
        let status = servers[n % servers.len()].post(path::SYNC, &set).await;
        assert_eq!(status, Some(201), "{holder}");
    }
    sizes
}

/// All members have the same: of each node how many keys its row says that it has, and how many it has.
fn same_rows(members: &[&SqlServer], phase: &str) -> String {
    let rows = "SELECT HEX(holder), held, (SELECT COUNT(*) FROM piccolo.holding \
        WHERE holding.space = node.space AND holding.holder = node.holder) FROM piccolo.node";
    let all = members
        .iter()
        .map(|member| member.execute(rows).expect("an answer"));
    let all: Vec<_> = all.collect();
    for rows in &all {
        assert_eq!(rows, &all[0], "{phase}");
    }
    all[0].clone()
}
