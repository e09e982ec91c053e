//! Finds: the nearest, spread, several keys at once.

use std::collections::BTreeSet;

use piccolo_api::path;
use serde_json::json;

use crate::engine::{Engine, on_engines};

on_engines!(all:
    the_nearest_of_many_are_found,
    equal_holders_are_not_always_in_the_same_order,
    many_dead_neighbours_do_not_hide_the_living,
    neither_the_dead_nor_the_asker_hide_the_other_family,
    several_keys_are_found_in_one_round_trip,
    the_admin_listener_tells_the_addresses,
);

async fn the_nearest_of_many_are_found(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    for rack in 0..40 {
        for host in 1..=5 {
            server
                .advertise(&format!("10.0.{rack}.{host}:7787"), &["k"])
                .await;
        }
    }
    let near = server.ranked("k", "10.0.17.200", 5).await;
    // One place of the five is kept for another rack.
    let own = near.iter().filter(|holder| holder.starts_with("10.0.17."));
    assert_eq!((near.len(), own.count()), (5, 4), "{near:?}");
}

async fn equal_holders_are_not_always_in_the_same_order(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    for host in 1..=8 {
        server
            .advertise(&format!("10.0.1.{host}:7787"), &["k"])
            .await;
    }
    let mut first = BTreeSet::new();
    for host in 1..=16 {
        let ranked = server.ranked("k", &format!("10.0.2.{host}"), 100).await;
        assert_eq!(ranked.len(), 8);
        first.extend(ranked.into_iter().next());
    }
    assert!(first.len() >= 4, "{first:?}");
}

async fn many_dead_neighbours_do_not_hide_the_living(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    for host in 1..=200 {
        server
            .advertise(&format!("10.0.1.{host}:7787"), &["k"])
            .await;
    }
    server.clock.advance(std::time::Duration::from_mins(32));
    server.advertise("10.9.9.9:7787", &["k"]).await;
    assert_eq!(server.ranked("k", "10.0.1.100", 1).await, ["10.9.9.9:7787"]);
}

async fn neither_the_dead_nor_the_asker_hide_the_other_family(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let (own, other) = ("10.0.0.1:7787", "[2001:db8::1]:7787");
    for holder in [own, "10.0.0.2:7787", other] {
        server.advertise(holder, &["k"]).await;
    }
    server.clock.advance(std::time::Duration::from_mins(32));
    for holder in [own, other] {
        server.advertise(holder, &["k"]).await;
    }
    assert_eq!(server.ranked("k", "10.0.0.1", 1).await, [other]);
    assert_eq!(server.ranked("k", "10.0.0.9", 1).await, [own]);
}

async fn several_keys_are_found_in_one_round_trip(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    server.advertise("10.0.0.1:7787", &["a", "b"]).await;
    let call = json!({"keys": ["a", "none", "b"], "group": "g", "request_host": "10.0.0.2"});
    let (status, reply) = server.post(path::FIND, &call).await;
    assert_eq!(status, 200);
    let results = reply["results"].as_array().expect("a list");
    let peers: Vec<_> = results
        .iter()
        .map(|r| (r["key"].clone(), r["peers"].clone()))
        .collect();
    let [(_, a), (none, nobody), (_, b)] = peers.try_into().expect("one result for each key");
    assert_eq!((none, nobody), (json!("none"), json!([])));
    // Their scores may differ: the first key has handed it out once already.
    assert_eq!(
        (a.as_array().map(Vec::len), &a[0]["addr"]),
        (Some(1), &b[0]["addr"])
    );
    assert_eq!(a[0]["addr"], "10.0.0.1:7787");
    assert_eq!(a[0]["rack"], "10.0.0.0/24");
    assert_eq!(a[0]["state"], "complete");
    assert!(a[0]["score"].is_number());
}

async fn the_admin_listener_tells_the_addresses(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let (status, info) = server.admin("/info").await;
    let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(
        (status, &info["api"]),
        (200, &json!(server.api.to_string()))
    );
    assert_eq!(server.admin("/readyz").await, (200, "ready\n".to_owned()));
}
