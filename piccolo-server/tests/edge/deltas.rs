//! Versioned deltas, resync and leave: the calls of our own agents.

use piccolo_api::path;
use serde_json::{Value, json};

use crate::{
    engine::{Engine, on_engines},
    server::Server,
};

const HOLDER: &str = "10.0.0.1:7787";

async fn sync(server: &Server, keys: &[&str], epoch: u64, seq: u64) -> (u16, Value) {
    let call = json!({"holder": HOLDER, "keys": keys, "group": "g", "epoch": epoch, "seq": seq});
    server.post(path::SYNC, &call).await
}

async fn delta(server: &Server, change: [&[&str]; 2], epoch: u64, seq: u64) -> (u16, Value) {
    let [added, removed] = change;
    let call = json!({
        "holder": HOLDER, "keys": added, "removed": removed, "group": "g",
        "epoch": epoch, "seq": seq,
    });
    server.post(path::ADVERTISE, &call).await
}

async fn keepalive(server: &Server, epoch: u64, seq: u64) -> Value {
    let call = json!({"host": HOLDER, "Group": "g", "epoch": epoch, "seq": seq});
    let (status, reply) = server.post(path::KEEPALIVE, &call).await;
    assert_eq!(status, 201);
    reply["resync"].clone()
}

async fn held(server: &Server) -> String {
    let mut held = String::new();
    for key in ["a", "b", "c", "d"] {
        if !server.holders(key, "10.0.0.9").await.is_empty() {
            held.push_str(key);
        }
    }
    held
}

on_engines!(all:
    a_very_large_set_is_replaced,
    deltas_continue_a_sync,
    a_gap_asks_for_a_sync_and_changes_nothing,
    what_comes_twice_or_late_changes_nothing,
    a_lost_answer_loses_no_key,
    a_change_without_a_number_ends_the_numbering,
    no_number_is_too_large,
    a_node_that_left_is_gone_at_once_and_comes_back_with_its_set,
    everything_answered_survives_a_restart,
);

async fn deltas_continue_a_sync(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    assert_eq!(sync(&server, &["a", "b"], 7, 1).await.0, 201);
    let (status, reply) = delta(&server, [&["c"], &["a"]], 7, 2).await;
    assert_eq!((status, &reply["resync"]), (201, &Value::Null));
    assert_eq!(held(&server).await, "bc");
    assert_eq!(keepalive(&server, 7, 2).await, Value::Null);
}

async fn a_gap_asks_for_a_sync_and_changes_nothing(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    // A server that has never heard of the node.
    assert_eq!(delta(&server, [&["a"], &[]], 7, 2).await.1["resync"], true);
    assert_eq!(sync(&server, &["a"], 7, 1).await.0, 201);
    // A lost change, and an agent that was started anew.
    for (epoch, seq) in [(7, 3), (8, 2)] {
        let (_, reply) = delta(&server, [&["b"], &["a"]], epoch, seq).await;
        assert_eq!(reply["resync"], true, "{epoch} {seq}");
        assert_eq!(keepalive(&server, epoch, seq).await, true);
    }
    assert_eq!(held(&server).await, "a");
    assert_eq!(sync(&server, &["b"], 8, 2).await.0, 201);
    assert_eq!(keepalive(&server, 8, 2).await, Value::Null);
    assert_eq!(held(&server).await, "b");
}

async fn what_comes_twice_or_late_changes_nothing(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    assert_eq!(sync(&server, &["a"], 7, 1).await.0, 201);
    assert_eq!(delta(&server, [&["b"], &[]], 7, 2).await.0, 201);
    assert_eq!(delta(&server, [&["c"], &["b"]], 7, 3).await.0, 201);
    for reply in [
        delta(&server, [&["b"], &[]], 7, 2).await,
        sync(&server, &["a"], 7, 1).await,
    ] {
        assert_eq!((reply.0, &reply.1["success"]), (201, &Value::Bool(true)));
    }
    assert_eq!(held(&server).await, "ac");
}

/// The agent cannot know whether the server took what it got no answer for.
async fn a_lost_answer_loses_no_key(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    assert_eq!(sync(&server, &["a"], 7, 1).await.0, 201);
    assert_eq!(delta(&server, [&["b"], &["a"]], 7, 2).await.0, 201);
    // The very same once more is done already.
    let (status, reply) = delta(&server, [&["b"], &["a"]], 7, 2).await;
    assert_eq!((status, &reply["resync"]), (201, &Value::Null));
    // With more in it, it is not.
    for change in [[&["b", "c"][..], &["a"][..]], [&[][..], &["b"][..]]] {
        let (status, reply) = delta(&server, change, 7, 2).await;
        assert_eq!((status, &reply["resync"]), (201, &Value::Bool(true)));
    }
    assert_eq!(held(&server).await, "b");
    assert_eq!(sync(&server, &["b", "c"], 7, 2).await.0, 201);
    assert_eq!(held(&server).await, "bc");
    assert_eq!(keepalive(&server, 7, 2).await, Value::Null);
}

/// After a foreign write, an agent that numbers its changes has to sync its whole set.
async fn a_change_without_a_number_ends_the_numbering(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    assert_eq!(sync(&server, &["a"], 7, 1).await.0, 201);
    let foreign = json!({"holder": HOLDER, "keys": [], "group": "g"});
    assert_eq!(server.post(path::SYNC, &foreign).await.0, 201);
    assert_eq!(held(&server).await, "");
    assert_eq!(keepalive(&server, 7, 1).await, true);
}

async fn no_number_is_too_large(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    assert_eq!(sync(&server, &["a"], u64::MAX, u64::MAX).await.0, 201);
    let (status, reply) = delta(&server, [&["b"], &[]], u64::MAX, u64::MAX).await;
    assert_eq!((status, &reply["resync"]), (201, &Value::Bool(true)));
    assert_eq!(delta(&server, [&["b"], &[]], u64::MAX, 0).await.0, 201);
    assert_eq!(held(&server).await, "a");
}

async fn a_node_that_left_is_gone_at_once_and_comes_back_with_its_set(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    assert_eq!(sync(&server, &["a"], 7, 1).await.0, 201);
    let leave = json!({"host": HOLDER, "Group": "g"});
    assert_eq!(server.post(path::LEAVE, &leave).await.0, 201);
    assert_eq!(held(&server).await, "");
    assert_eq!(sync(&server, &["a"], 8, 1).await.0, 201);
    assert_eq!(held(&server).await, "a");
}

async fn everything_answered_survives_a_restart(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let flags = ["--database", url.as_str()];
    let server = Server::start(&flags).await;
    assert_eq!(sync(&server, &["a", "b"], 7, 1).await.0, 201);
    server.stop().await;
    let server = Server::start(&flags).await;
    assert_eq!(held(&server).await, "ab");
    assert_eq!(keepalive(&server, 7, 1).await, Value::Null);
    assert_eq!(delta(&server, [&[], &["a"]], 7, 2).await.1["success"], true);
    assert_eq!(held(&server).await, "b");
}

/// More keys than MariaDB puts into one value.
async fn a_very_large_set_is_replaced(engine: Engine) {
    let (server, database) = engine.fresh().await;
    for part in 0..4 {
        let keys: Vec<String> = (0..20_000).map(|n| format!("{part}-{n}")).collect();
        let call = json!({"holder": HOLDER, "keys": keys, "group": "g"});
        assert_eq!(server.post(path::ADVERTISE, &call).await.0, 201);
    }
    assert_eq!(database.count("holding"), 80_000);
    let keys = ["3-19999", "new"];
    let call = json!({"holder": HOLDER, "keys": keys, "group": "g"});
    assert_eq!(server.post(path::SYNC, &call).await.0, 201);
    assert_eq!(database.count("holding"), 2);
    for key in keys {
        assert_eq!(server.holders(key, "10.0.0.9").await, [HOLDER]);
    }
}
