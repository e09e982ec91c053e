//! For how long nodes may be silent whose agents are Go agents, and which those are.

use std::time::Duration;

use daemon::clock::Clock;
use piccolo_api::path;
use serde_json::{Value, json};

use crate::{
    engine::{Database, Engine, on_engines},
    server::{Server, eventually},
};

on_engines!(all:
    a_go_agents_node_is_found_between_its_keepalives,
    what_a_node_is_survives_a_restart,
    every_instance_has_the_same_patience,
    what_a_go_agents_node_had_stays_for_longer,
    after_a_start_a_go_agent_has_its_time,
    one_failed_fetch_takes_out_who_is_silent_for_long,
    one_peer_takes_out_a_tenth_at_most,
    a_set_tells_what_its_agent_is,
    a_set_that_was_put_right_stays_its_agents,
    a_go_agents_node_coordinates_nobody,
    patience_can_be_set,
);

/// A Go agent's, and one of ours.
const GO: &str = "10.0.0.1:5123";
const OWN: &str = "10.0.0.2:7787";
const NOW: Duration = Duration::from_hours(480_000);

/// A keepalive of a Go agent comes so often.
const KEEPALIVE: Duration = Duration::from_mins(10);

fn flags<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut flags = vec!["--database", url, "--find-cache-ttl", "0"];
    flags.extend(more);
    flags
}

async fn start(database: &Database, more: &[&str], clock: &Clock) -> Server {
    Server::start_at(&flags(&database.url(), more), clock.clone()).await
}

/// Both nodes, one of each kind.
async fn both(server: &Server) {
    server.advertise(GO, &["k"]).await;
    server.announce(OWN, &["k"]).await;
    assert_eq!(found(server).await, [GO, OWN]);
}

async fn keepalive(server: &Server, host: &str, failures: Value) {
    let mut call = json!({"host": host, "Group": "g"});
    if failures != Value::Null {
        call["failures"] = failures;
    }
    let (status, reply) = server.post(path::KEEPALIVE, &call).await;
    assert_eq!(status, 201, "{reply}");
}

async fn accuse(server: &Server, by: &str, peers: &[String]) {
    let failure = |peer: &String| json!({"peer": peer, "kind": "refused", "count": 1});
    let failures: Vec<_> = peers.iter().map(failure).collect();
    keepalive(server, by, failures.into()).await;
}

async fn found(server: &Server) -> Vec<String> {
    server.holders("k", "10.9.9.9").await
}

async fn a_go_agents_node_is_found_between_its_keepalives(engine: Engine) {
    let database = engine.database();
    let server = start(&database, &[], &Clock::manual(NOW)).await;
    both(&server).await;
    for _ in 0..3 {
        server.clock.advance(KEEPALIVE);
        assert_eq!(found(&server).await, [GO]);
        keepalive(&server, GO, Value::Null).await;
    }
    server.clock.advance(3 * KEEPALIVE + Duration::from_mins(1));
    assert_eq!(found(&server).await, [GO], "three keepalives may be lost");
    server.clock.advance(Duration::from_millis(1));
    assert!(found(&server).await.is_empty());
    keepalive(&server, GO, Value::Null).await;
    assert_eq!(found(&server).await, [GO]);
}

async fn what_a_node_is_survives_a_restart(engine: Engine) {
    let database = engine.database();
    let server = start(&database, &[], &Clock::manual(NOW)).await;
    both(&server).await;
    let clock = server.clock.clone();
    server.stop().await;
    clock.advance(KEEPALIVE);
    let server = start(&database, &[], &clock).await;
    assert_eq!(found(&server).await, [GO]);
}

async fn every_instance_has_the_same_patience(engine: Engine) {
    let database = engine.database();
    let clock = Clock::manual(NOW);
    let one = start(&database, &[], &clock).await;
    let other = start(&database, &[], &clock).await;
    both(&one).await;
    eventually("the other instance knows the nodes", async || {
        found(&other).await == [GO, OWN]
    })
    .await;
    clock.advance(KEEPALIVE);
    assert_eq!(found(&other).await, [GO]);
    // It becomes one of ours.
    one.announce(GO, &["k"]).await;
    eventually("the other instance hears of it", async || {
        clock.advance(Duration::from_secs(1));
        keepalive(&one, GO, Value::Null).await;
        let row = database.query("SELECT COUNT(*) FROM node WHERE seq IS NOT NULL");
        row.trim() == "2"
    })
    .await;
    // As long as a keepalive may be unwritten, and a round of reading takes.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        clock.advance(Duration::from_secs(1));
    }
    clock.advance(Duration::from_mins(2));
    assert!(found(&other).await.is_empty());
}

async fn what_a_go_agents_node_had_stays_for_longer(engine: Engine) {
    let database = engine.database();
    let more = ["--node-timeout", "1s", "--go-node-timeout", "10s"];
    let server = start(&database, &more, &Clock::manual(NOW)).await;
    both(&server).await;
    let clock = server.clock.clone();
    let seen = async |seconds: u64, nodes: usize| {
        eventually("the silent nodes are gone", async || {
            clock.advance(Duration::from_millis(150));
            tokio::time::sleep(Duration::from_millis(60)).await;
            database.count("holding") == nodes
        })
        .await;
        let silent = clock.now().saturating_sub(NOW);
        assert!(silent >= Duration::from_secs(seconds), "{silent:?}");
    };
    seen(3, 1).await;
    // Broken, it is not taken for gone either: its next keepalive brings it back.
    database.query("UPDATE node SET state = 2");
    seen(12, 0).await;
}

async fn after_a_start_a_go_agent_has_its_time(engine: Engine) {
    let database = engine.database();
    let more = ["--node-timeout", "1s", "--go-node-timeout", "10s"];
    let clock = Clock::manual(NOW);
    let server = start(&database, &more, &clock).await;
    both(&server).await;
    server.stop().await;
    // No keepalive could arrive meanwhile.
    clock.advance(Duration::from_hours(1));
    let server = start(&database, &more, &clock).await;
    for _ in 0..36 {
        clock.advance(Duration::from_millis(250));
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(database.count("holding"), 1);
    keepalive(&server, GO, Value::Null).await;
    assert_eq!(found(&server).await, [GO]);
}

async fn one_failed_fetch_takes_out_who_is_silent_for_long(engine: Engine) {
    let database = engine.database();
    let server = start(&database, &[], &Clock::manual(NOW)).await;
    both(&server).await;
    let (by, peers) = ("10.0.0.3:1", [GO.to_owned()]);
    server.announce(by, &["k"]).await;
    server.clock.advance(Duration::from_mins(2));
    accuse(&server, by, &peers).await;
    assert!(found(&server).await.contains(&GO.to_owned()));
    server.clock.advance(Duration::from_mins(1));
    // Only a live node counts, and only one that was sent there.
    accuse(&server, OWN, &[]).await;
    accuse(&server, by, &[]).await;
    let nobody = "10.0.0.9:1";
    accuse(&server, nobody, &peers).await;
    assert!(found(&server).await.contains(&GO.to_owned()));
    accuse(&server, by, &peers).await;
    assert!(!found(&server).await.contains(&GO.to_owned()));
    server.clock.advance(Duration::from_secs(1));
    keepalive(&server, GO, Value::Null).await;
    assert!(found(&server).await.contains(&GO.to_owned()));
    // One of ours is out after three of them only.
    accuse(&server, by, &[OWN.to_owned()]).await;
    assert!(found(&server).await.contains(&OWN.to_owned()));
}

async fn one_peer_takes_out_a_tenth_at_most(engine: Engine) {
    let database = engine.database();
    let server = start(&database, &[], &Clock::manual(NOW)).await;
    let nodes: Vec<_> = (1..=30).map(|n| format!("10.0.1.{n}:5123")).collect();
    for node in &nodes {
        server.advertise(node, &["k"]).await;
    }
    server.clock.advance(Duration::from_mins(5));
    let by = "10.0.0.3:1";
    server.announce(by, &["k"]).await;
    accuse(&server, by, &nodes).await;
    // The accuser is of the group, and has the key.
    assert_eq!(found(&server).await.len(), 31 - 3);
    // Those do not use up the tenth of the others.
    let (broken, others) = ("10.0.0.9:1", ["10.0.0.4:1", "10.0.0.5:1"]);
    for node in [broken, others[0], others[1]] {
        server.announce(node, &["k"]).await;
    }
    server.clock.advance(Duration::from_secs(1));
    for by in [by, others[0], others[1]] {
        accuse(&server, by, &[broken.to_owned()]).await;
    }
    assert!(!found(&server).await.contains(&broken.to_owned()));
}

/// Whether the node is found after ten minutes without a keepalive.
async fn has_patience(server: &Server, holder: &str) -> bool {
    server.clock.advance(KEEPALIVE);
    found(server).await.contains(&holder.to_owned())
}

async fn a_set_tells_what_its_agent_is(engine: Engine) {
    let database = engine.database();
    let server = start(&database, &[], &Clock::manual(NOW)).await;
    server.announce(OWN, &["k"]).await;
    assert!(!has_patience(&server, OWN).await);
    // Keys without a number need not be its agent's.
    server.advertise(OWN, &["l"]).await;
    assert!(!has_patience(&server, OWN).await);
    // A whole set is: it is all that the server knows from then on, be it the same.
    let set = json!({"holder": OWN, "keys": ["k", "l"], "group": "g"});
    assert_eq!(server.post(path::SYNC, &set).await.0, 201);
    assert!(has_patience(&server, OWN).await);
    server.announce(OWN, &["k"]).await;
    assert!(!has_patience(&server, OWN).await);
    // Who left is followed by another agent.
    server.clock.advance(Duration::from_secs(1));
    let leave = json!({"host": OWN, "Group": "g"});
    assert_eq!(server.post(path::LEAVE, &leave).await.0, 201);
    server.clock.advance(Duration::from_secs(1));
    server.advertise(OWN, &["k"]).await;
    assert!(has_patience(&server, OWN).await);
    // Its keepalive says nothing of it.
    keepalive(&server, OWN, Value::Null).await;
    assert!(has_patience(&server, OWN).await);
}

/// Its version is not known then, and it is asked for its set; but it had one.
async fn a_set_that_was_put_right_stays_its_agents(engine: Engine) {
    let database = engine.database();
    let server = start(&database, &[], &Clock::manual(NOW)).await;
    both(&server).await;
    database.query("UPDATE node SET held = 9");
    let unnumbered = "node WHERE held = 1 AND seq IS NULL";
    eventually("the rows are put right", async || {
        database.count(unnumbered) == 2
    })
    .await;
    let clock = server.clock.clone();
    server.stop().await;
    clock.advance(KEEPALIVE);
    let server = start(&database, &[], &clock).await;
    assert_eq!(found(&server).await, [GO]);
}

async fn a_go_agents_node_coordinates_nobody(engine: Engine) {
    let database = engine.database();
    let server = start(&database, &[], &Clock::manual(NOW)).await;
    both(&server).await;
    let call = json!({"host": OWN, "Group": "g", "mates": 0});
    let (status, reply) = server.post(path::KEEPALIVE, &call).await;
    assert_eq!(status, 201, "{reply}");
    assert_eq!(reply["mates"]["holders"], json!([OWN]), "{reply}");
}

async fn patience_can_be_set(engine: Engine) {
    let database = engine.database();
    let clock = Clock::manual(NOW);
    let none = start(&database, &["--go-node-timeout", "0"], &clock).await;
    both(&none).await;
    clock.advance(Duration::from_mins(2));
    assert_eq!(found(&none).await, [GO, OWN]);
    clock.advance(Duration::from_millis(1));
    assert!(found(&none).await.is_empty());
    drop(none);
    let more = start(&database, &["--go-node-timeout", "1h"], &clock).await;
    clock.advance(Duration::from_mins(57));
    assert_eq!(found(&more).await, [GO]);
}
