//! Which nodes are handed out: silent ones, broken ones, and what several instances know of them.

use std::time::Duration;

use daemon::clock::Clock;
use piccolo_api::path;
use serde_json::{Value, json};

use crate::{
    caps::call,
    engine::{Database, Engine, on_engines},
    process::Process,
    server::{Server, eventually},
};

on_engines!(all:
    instances_share_signs_of_life,
    a_node_that_left_one_instance_is_soon_gone_from_the_other,
    several_peers_take_a_node_out_and_a_keepalive_brings_it_back,
    one_peer_takes_no_node_out,
    busy_and_missing_are_no_faults,
    silent_nodes_are_removed_after_a_full_timeout,
    a_node_that_comes_back_is_not_removed,
    what_a_silent_node_says_is_written_before_it_is_answered,
    an_older_sign_of_life_hides_nothing_from_its_writer,
    one_host_with_several_ports_is_one_peer,
    only_who_was_sent_to_a_node_can_accuse_it,
    a_tenth_of_a_group_is_out_at_most,
    nodes_that_one_address_invented_are_one_peer,
    a_node_that_was_removed_is_asked_for_its_set,
    nodes_with_many_keys_are_removed_in_steps,
    who_has_not_the_lease_removes_nothing,
    a_clock_that_was_ahead_keeps_no_dead_node,
    a_clock_that_is_behind_takes_nothing_back,
    agents_are_told_how_soon_a_node_counts_as_dead,
);

const A: &str = "10.0.0.1:7787";
/// Most sets here have no numbers, as a Go agent's; for how long that one may be silent is tested elsewhere.
const SAME: [&str; 2] = ["--go-node-timeout", "0"];
const NOW: Duration = Duration::from_hours(480_000);

async fn two(engine: Engine, flags: &[&str]) -> (Server, Server, Database) {
    let database = engine.database();
    let url = database.url();
    let mut all = vec!["--database", &url];
    all.extend(SAME);
    all.extend(flags);
    let clock = Clock::manual(NOW);
    let one = Server::start_at(&all, clock.clone()).await;
    let other = Server::start_at(&all, clock).await;
    (one, other, database)
}

async fn keepalive(server: &Server, host: &str, more: Value) -> Value {
    let mut call = json!({"host": host, "Group": "g"});
    if let (Some(call), Value::Object(more)) = (call.as_object_mut(), more) {
        call.extend(more);
    }
    let (status, reply) = server.post(path::KEEPALIVE, &call).await;
    assert_eq!(status, 201, "{reply}");
    reply["resync"].clone()
}

/// As an agent that has nothing.
async fn appear(server: &Server, host: &str) {
    let set = json!({"holder": host, "keys": [], "group": "g"});
    let (status, reply) = server.post(path::SYNC, &set).await;
    assert_eq!(status, 201, "{reply}");
}

async fn accuse(server: &Server, by: &str, kind: &str) {
    let failure = json!([{"peer": A, "kind": kind, "count": 5}]);
    keepalive(server, by, json!({"failures": failure})).await;
}

async fn finds(server: &Server) -> bool {
    !server.holders("k", "10.9.9.9").await.is_empty()
}

async fn instances_share_signs_of_life(engine: Engine) {
    let (one, other, _database) = two(engine, &["--find-cache-ttl", "0"]).await;
    one.advertise(A, &["k"]).await;
    eventually("the other instance knows the node", async || {
        finds(&other).await
    })
    .await;
    // It goes on living, as only the first instance hears.
    for _ in 0..3 {
        one.clock.advance(Duration::from_mins(1));
        assert_eq!(keepalive(&one, A, json!({})).await, Value::Null);
        eventually("the other instance hears of it", async || {
            finds(&other).await
        })
        .await;
    }
    one.clock.advance(Duration::from_secs(121));
    assert!(!finds(&one).await && !finds(&other).await);
}

async fn a_node_that_left_one_instance_is_soon_gone_from_the_other(engine: Engine) {
    let (one, other, _database) = two(engine, &["--find-cache-ttl", "0"]).await;
    one.advertise(A, &["k"]).await;
    eventually("the other instance knows the node", async || {
        finds(&other).await
    })
    .await;
    one.clock.advance(Duration::from_millis(1));
    let leave = json!({"host": A, "Group": "g"});
    assert_eq!(one.post(path::LEAVE, &leave).await.0, 201);
    assert!(!finds(&one).await);
    eventually("the other instance hears of it", async || {
        !finds(&other).await
    })
    .await;
}

async fn several_peers_take_a_node_out_and_a_keepalive_brings_it_back(engine: Engine) {
    let (one, other, _database) = two(engine, &["--find-cache-ttl", "0"]).await;
    one.advertise(A, &["k"]).await;
    for by in ["10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"] {
        appear(&one, by).await;
    }
    eventually("the other instance knows the node", async || {
        finds(&other).await
    })
    .await;
    one.clock.advance(Duration::from_secs(1));
    accuse(&one, "10.0.0.2:1", "refused").await;
    accuse(&one, "10.0.0.3:1", "stalled").await;
    assert!(finds(&one).await);
    accuse(&one, "10.0.0.4:1", "wrong_bytes").await;
    assert!(!finds(&one).await);
    eventually("the other instance hears of it", async || {
        !finds(&other).await
    })
    .await;
    one.clock.advance(Duration::from_secs(1));
    keepalive(&other, A, json!({})).await;
    assert!(finds(&other).await);
    eventually("the first instance hears of it", async || finds(&one).await).await;
}

async fn one_peer_takes_no_node_out(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    server.advertise(A, &["k"]).await;
    appear(&server, "10.0.0.2:1").await;
    server.clock.advance(Duration::from_secs(1));
    for _ in 0..10 {
        accuse(&server, "10.0.0.2:1", "refused").await;
    }
    assert!(finds(&server).await);
}

async fn busy_and_missing_are_no_faults(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    server.advertise(A, &["k"]).await;
    let peers = ["10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"];
    for by in peers {
        appear(&server, by).await;
    }
    server.clock.advance(Duration::from_secs(1));
    for kind in ["busy", "missing", "something_new"] {
        for by in peers {
            accuse(&server, by, kind).await;
        }
    }
    assert!(finds(&server).await);
}

async fn silent_nodes_are_removed_after_a_full_timeout(engine: Engine) {
    let (one, other, database) = two(engine, &["--node-timeout", "2s"]).await;
    for host in 1..=50 {
        one.advertise(&format!("10.0.0.{host}:1"), &["k", "l"])
            .await;
    }
    one.clock.advance(Duration::from_hours(1));
    // To the evictors the process was halted for an hour: they wait for a timeout again.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(database.count("holding"), 100);
    }
    one.advertise("10.0.1.1:1", &["k"]).await;
    one.clock.advance(Duration::from_millis(1900));
    keepalive(&one, "10.0.1.1:1", json!({})).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(database.count("node"), 51);
    one.clock.advance(Duration::from_millis(200));
    eventually("the silent nodes are gone", async || {
        (database.count("node"), database.count("holding")) == (1, 1)
    })
    .await;
    drop(other);
}

async fn a_node_that_comes_back_is_not_removed(engine: Engine) {
    let (one, _other, database) = two(engine, &["--node-timeout", "2s"]).await;
    let set = json!({"holder": A, "keys": ["k"], "group": "g", "epoch": 1, "seq": 1});
    assert_eq!(one.post(path::SYNC, &set).await.0, 201);
    one.advertise("10.0.0.2:1", &["k"]).await;
    one.clock.advance(Duration::from_secs(100));
    // In between the two of them: one comes back before the evictors are at work again.
    let version = json!({"epoch": 1, "seq": 1});
    assert_eq!(keepalive(&one, A, version.clone()).await, Value::Null);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        one.clock.advance(Duration::from_millis(500));
        assert_eq!(keepalive(&one, A, version.clone()).await, Value::Null);
    }
    eventually("the silent node is gone", async || {
        database.count("node") == 1
    })
    .await;
    assert_eq!(database.count("holding"), 1);
    assert!(finds(&one).await);
}

/// Whatever it is that changes nothing: once it was answered, no instance takes the node for silent.
async fn what_a_silent_node_says_is_written_before_it_is_answered(engine: Engine) {
    let (server, database) = engine.fresh().await;
    let plain = json!({"holder": A, "keys": ["k", "l"], "group": "g"});
    let version = json!({"epoch": 1, "seq": 1});
    let mut numbered = plain.clone();
    for part in ["epoch", "seq"] {
        numbered[part] = version[part].clone();
    }
    let calls = [
        (path::ADVERTISE, &plain),
        (path::SYNC, &plain),
        (path::SYNC, &numbered),
    ];
    for (path, call) in calls {
        assert_eq!(server.post(path, call).await.0, 201);
        // For the second time it is the set that is known.
        server.clock.advance(Duration::from_mins(5));
        assert_eq!(server.post(path, call).await.0, 201);
        let now = server.clock.now().as_millis().to_string();
        let seen = database.query("SELECT seen FROM node");
        assert_eq!(seen.trim(), now, "{path} {call}");
    }
}

/// An instance reads back what others wrote, and takes a row for its own that it wrote last.
async fn an_older_sign_of_life_hides_nothing_from_its_writer(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let flags = ["--database", &url, "--find-cache-ttl", "0"];
    let one = Server::start_at(&flags, Clock::manual(NOW)).await;
    let ahead = Clock::manual(NOW + Duration::from_secs(61));
    let other = Server::start_at(&flags, ahead).await;
    one.advertise(A, &["k"]).await;
    one.clock.advance(Duration::from_mins(1));
    assert_eq!(keepalive(&one, A, json!({})).await, Value::Null);
    let leave = json!({"host": A, "Group": "g"});
    assert_eq!(other.post(path::LEAVE, &leave).await.0, 201);
    eventually("the first instance hears of it", async || {
        !finds(&one).await
    })
    .await;
}

async fn one_host_with_several_ports_is_one_peer(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    server.advertise(A, &["k"]).await;
    let peers = ["10.0.0.2:1", "10.0.0.2:2", "10.0.0.2:3"];
    for by in peers {
        appear(&server, by).await;
    }
    server.clock.advance(Duration::from_secs(1));
    for by in peers {
        accuse(&server, by, "refused").await;
    }
    assert!(finds(&server).await);
}

async fn a_node_that_was_removed_is_asked_for_its_set(engine: Engine) {
    let (one, other, database) = two(engine, &["--node-timeout", "1s"]).await;
    let set = json!({"holder": A, "keys": ["k"], "group": "g", "epoch": 1, "seq": 1});
    assert_eq!(one.post(path::SYNC, &set).await.0, 201);
    eventually("the node is removed", async || {
        one.clock.advance(Duration::from_millis(150));
        database.count("node") == 0
    })
    .await;
    // Whichever instance removed it: neither takes what it remembers for what is stored.
    for server in [&one, &other] {
        let version = json!({"epoch": 1, "seq": 1});
        assert_eq!(keepalive(server, A, version).await, true);
    }
    assert!(!finds(&one).await);
    assert_eq!(one.post(path::SYNC, &set).await.0, 201);
    assert!(finds(&one).await);
}

async fn nodes_with_many_keys_are_removed_in_steps(engine: Engine) {
    let (one, _other, database) = two(engine, &["--node-timeout", "1s"]).await;
    let keys: Vec<String> = (0..10_000).map(|n| format!("key-{n}")).collect();
    let set = json!({"holder": A, "keys": keys, "group": "g"});
    assert_eq!(one.post(path::SYNC, &set).await.0, 201);
    assert_eq!(database.count("holding"), 10_000);
    eventually("the node is removed", async || {
        one.clock.advance(Duration::from_millis(150));
        (database.count("node"), database.count("holding")) == (0, 0)
    })
    .await;
}

async fn who_has_not_the_lease_removes_nothing(engine: Engine) {
    let (one, _other, database) = two(engine, &["--node-timeout", "1s"]).await;
    one.advertise(A, &["k"]).await;
    // As an instance would that neither of the two is.
    let until = (NOW + Duration::from_mins(1)).as_millis();
    database.query(&format!(
        "INSERT INTO lease (name, owner, until) VALUES ('evict', 99, {until})"
    ));
    for _ in 0..60 {
        one.clock.advance(Duration::from_millis(150));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(database.count("node"), 1);
    database.query("UPDATE lease SET until = 0");
    eventually("the node is removed", async || {
        one.clock.advance(Duration::from_millis(150));
        database.count("node") == 0
    })
    .await;
}

/// For an hour all instances said that it was an hour later.
async fn a_clock_that_is_behind_takes_nothing_back(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let flags = [
        "--database",
        &url,
        "--go-node-timeout",
        "0",
        "--node-timeout",
        "2s",
        "--find-cache-ttl",
        "0",
    ];
    let right = Clock::manual(NOW + Duration::from_hours(1));
    let one = Server::start_at(&flags, right.clone()).await;
    one.advertise(A, &["k"]).await;
    let wrong = Clock::manual(NOW);
    let _late = Server::start_at(&flags, wrong.clone()).await;
    // Longer than the late one waits, and than either needs for a round.
    for _ in 0..50 {
        for clock in [&right, &wrong] {
            clock.advance(Duration::from_millis(100));
        }
        keepalive(&one, A, json!({})).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let again = Server::start_at(&flags, right.clone()).await;
    assert!(finds(&again).await, "the node lives");
}

async fn a_clock_that_was_ahead_keeps_no_dead_node(engine: Engine) {
    let flags = ["--node-timeout", "2s", "--find-cache-ttl", "0"];
    let (one, other, database) = two(engine, &flags).await;
    let clock = &one.clock;
    one.advertise(A, &["k"]).await;
    clock.advance(Duration::from_hours(1));
    keepalive(&one, A, json!({})).await;
    let is_found = async || finds(&other).await;
    eventually("the other instance knows the node", is_found).await;
    database.query("DELETE FROM lease");
    let until = (NOW + Duration::from_hours(1)).as_millis();
    database.query(&format!(
        "INSERT INTO lease (name, owner, until) VALUES ('evict', 99, {until})"
    ));

    // The clock is put right, and the node lives on.
    clock.set_back(Duration::from_hours(1));
    for _ in 0..3 {
        keepalive(&one, A, json!({})).await;
        assert!(finds(&one).await);
        eventually("the other instance hears of it", is_found).await;
        clock.advance(Duration::from_secs(1));
    }
    let is_gone = async || {
        clock.advance(Duration::from_millis(100));
        !finds(&one).await && !finds(&other).await
    };
    eventually("the dead node is handed out no more", is_gone).await;
    let future = (NOW + Duration::from_mins(30)).as_millis();
    let of_the_future = format!("node WHERE seen > {future} OR stamp > {future}");
    eventually("the database has no such time", async || {
        clock.advance(Duration::from_millis(100));
        database.count(&of_the_future) == 0
    })
    .await;
    let url = database.url();
    let again = ["--database", &url, "--node-timeout", "2s"];
    let again: Vec<_> = again.into_iter().chain(SAME).collect();
    let third = Server::start_at(&again, clock.clone()).await;
    assert!(!finds(&third).await, "a restart brings it back");
    eventually("the dead node is removed", async || {
        clock.advance(Duration::from_millis(100));
        database.count("node") == 0
    })
    .await;
}

async fn agents_are_told_how_soon_a_node_counts_as_dead(engine: Engine) {
    for (timeout, told) in [("30s", json!(7500)), ("2m", Value::Null)] {
        let (one, _other, _database) = two(engine, &["--node-timeout", timeout]).await;
        let set = json!({"holder": A, "keys": ["k"], "group": "g"});
        let alive = json!({"host": A, "Group": "g"});
        for (path, call) in [
            (path::SYNC, &set),
            (path::ADVERTISE, &set),
            (path::KEEPALIVE, &alive),
        ] {
            let (status, reply) = one.post(path, call).await;
            assert_eq!((status, &reply["keepalive_ms"]), (201, &told), "{reply}");
        }
    }
}

/// Who are alive, as seen by a server that has run for long enough to know whom it named to them.
async fn settled(server: &Server, hosts: &[&str]) {
    server.clock.advance(Duration::from_mins(11));
    for host in hosts {
        appear(server, host).await;
    }
    server.advertise(A, &["k"]).await;
    server.clock.advance(Duration::from_secs(1));
}

const ACCUSERS: [&str; 3] = ["10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"];

async fn only_who_was_sent_to_a_node_can_accuse_it(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    settled(&server, &ACCUSERS).await;
    for by in ACCUSERS {
        accuse(&server, by, "refused").await;
    }
    assert!(finds(&server).await, "no find named it to them");
    for by in ACCUSERS {
        let (host, _) = by.split_once(':').expect("a port");
        assert_eq!(server.holders("k", host).await, [A]);
        accuse(&server, by, "refused").await;
    }
    assert!(!finds(&server).await);
    // Also by a find of several keys.
    server.clock.advance(Duration::from_mins(11));
    settled(&server, &ACCUSERS).await;
    for by in ACCUSERS {
        let (host, _) = by.split_once(':').expect("a port");
        let call = json!({"keys": ["k"], "group": "g", "request_host": host});
        assert_eq!(server.post(path::FIND, &call).await.0, 200);
        accuse(&server, by, "refused").await;
    }
    assert!(!finds(&server).await);
}

async fn a_tenth_of_a_group_is_out_at_most(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let holders: Vec<_> = (1..=30).map(|n| format!("10.0.1.{n}:7787")).collect();
    for holder in &holders {
        server.advertise(holder, &["k"]).await;
    }
    server.clock.advance(Duration::from_secs(1));
    let failures = holders
        .iter()
        .map(|peer| json!({"peer": peer, "kind": "cut", "count": 1}));
    let failures: Vec<_> = failures.collect();
    for by in &holders[..3] {
        keepalive(&server, by, json!({"failures": failures})).await;
    }
    assert_eq!(server.holders("k", "10.9.9.9").await.len(), 27);
}

/// Somebody looks there when half of a group is said to fail.
#[tokio::test]
async fn who_stays_since_too_many_are_out_is_counted_and_logged() {
    let scratch = tempfile::tempdir().expect("a directory");
    let database = format!("sqlite:{}", scratch.path().join("db").display());
    let server = Process::start(&["--database", &database]);
    let holders: Vec<_> = (1..=6).map(|n| format!("10.0.1.{n}:7787")).collect();
    for holder in &holders {
        assert_eq!(server.advertise(holder, "k").await, Some(201));
    }
    let failures = holders[..3]
        .iter()
        .map(|peer| json!({"peer": peer, "kind": "cut", "count": 1}));
    let failures: Vec<_> = failures.collect();
    for by in &holders[3..] {
        let call = json!({"host": by, "Group": "g", "failures": failures});
        assert_eq!(server.post(path::KEEPALIVE, &call).await, Some(201));
    }
    let (_, metrics) = server.admin("/metrics").await;
    for (verdict, count) in [("counted", 7), ("too_many_out", 2)] {
        let series = format!("piccolo_server_accusations_total{{verdict=\"{verdict}\"}} {count}");
        assert!(metrics.contains(&series), "{series}: {metrics}");
    }
    let log = server.log().join("\n");
    assert!(log.contains("a tenth of its group is out"), "{log}");
}

/// Unless the accused calls from there as well, as behind an address translation.
async fn nodes_that_one_address_invented_are_one_peer(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let say = async |from: &str, holder: &str, failures: Value| {
        let set = json!({"holder": holder, "keys": ["k"], "group": "g", "failures": failures});
        let (status, reply) = call(from, server.api, path::SYNC, &set).await;
        assert_eq!(status, 201, "{reply}");
    };
    let failure = json!([{"peer": A, "kind": "cut", "count": 1}]);
    for (victim, is_found) in [("127.0.0.7", true), ("127.0.0.8", false)] {
        say(victim, A, json!([])).await;
        for by in ACCUSERS {
            say("127.0.0.8", by, json!([])).await;
        }
        server.clock.advance(Duration::from_secs(1));
        for by in ACCUSERS {
            say("127.0.0.8", by, failure.clone()).await;
        }
        let found = server.holders("k", "10.9.9.9").await;
        assert_eq!(found.contains(&A.to_owned()), is_found, "{victim}");
        server.clock.advance(Duration::from_secs(1));
    }
}
