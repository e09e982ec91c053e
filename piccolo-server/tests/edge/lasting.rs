//! How long an instance answers from the lists that it read.

use std::time::Duration;

use daemon::clock::Clock;

use crate::{
    engine::{Database, Engine, on_engines},
    server::{Server, eventually},
};

on_engines!(all:
    a_list_lasts_until_somebody_else_writes,
    what_another_instance_stores_is_found_soon,
    a_change_that_this_instance_writes_over_is_found_too,
);

const A: &str = "10.0.0.1:7787";
const B: &str = "10.0.0.2:7787";
const TTL: &str = "3s";

/// Two instances over one database.
async fn two(engine: Engine) -> (Server, Server, Database) {
    let database = engine.database();
    let url = database.url();
    let flags = ["--database", &*url, "--find-cache-ttl", TTL];
    let clock = Clock::manual(Duration::from_hours(480_000));
    let one = Server::start_at(&flags, clock.clone()).await;
    let other = Server::start_at(&flags, clock).await;
    (one, other, database)
}

async fn a_list_lasts_until_somebody_else_writes(engine: Engine) {
    let (one, other, database) = two(engine).await;
    one.advertise(A, &["k", "l"]).await;
    assert_eq!(one.holders("k", "10.9.9.9").await, [A]);
    // Behind everybody's back, the audit's too, so that it shows whether the database is asked.
    let nothing = format!("X'{}'", "00".repeat(16));
    database.query(&format!(
        "DELETE FROM holding; UPDATE node SET held = 0, digest = {nothing}"
    ));
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(one.holders("k", "10.9.9.9").await, [A]);
    // Nothing is known of this one yet.
    assert!(one.holders("l", "10.9.9.9").await.is_empty());

    other.advertise(B, &["m"]).await;
    eventually("the list is read anew", async || {
        one.holders("k", "10.9.9.9").await.is_empty()
    })
    .await;
}

async fn what_another_instance_stores_is_found_soon(engine: Engine) {
    let (one, other, _database) = two(engine).await;
    one.advertise(A, &["k"]).await;
    assert_eq!(one.holders("k", "10.9.9.9").await, [A]);
    other.advertise(B, &["k"]).await;
    eventually("the other instance's holder is found", async || {
        one.holders("k", "10.9.9.9").await.len() == 2
    })
    .await;
    // Its own are seen at once all along.
    one.advertise("10.0.0.3:7787", &["k"]).await;
    assert_eq!(one.holders("k", "10.9.9.9").await.len(), 3);
}

/// A node tells one instance a change and another instance the next one, before the second instance has
/// polled: the node's row no longer shows that another instance wrote to it.
async fn a_change_that_this_instance_writes_over_is_found_too(engine: Engine) {
    let (one, other, _database) = two(engine).await;
    one.advertise(A, &["k"]).await;
    for key in ["l", "m", "n"] {
        assert!(one.holders(key, "10.9.9.9").await.is_empty());
        other.advertise(A, &[key]).await;
        one.advertise(A, &[&format!("{key}-more")]).await;
        eventually("what the other was told is found", async || {
            one.holders(key, "10.9.9.9").await == [A]
        })
        .await;
    }
}
