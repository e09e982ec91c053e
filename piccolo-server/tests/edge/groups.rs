//! Groups with databases of their own.

use piccolo_api::path;
use serde_json::json;

use crate::{
    engine::{Engine, on_engines},
    server::Server,
};

on_engines!(all:
    groups_are_kept_in_their_own_databases,
    groups_without_a_database_are_refused,
);

async fn groups_are_kept_in_their_own_databases(engine: Engine) {
    let (own, others) = (engine.database(), engine.database());
    let named = format!("g={}", own.url());
    let url = others.url();
    let server = Server::start(&["--database", &named, "--database", &url]).await;
    server.advertise("10.0.0.1:1", &["k"]).await;
    for group in ["h", "i"] {
        let call = json!({"holder": "10.0.0.2:1", "keys": ["k"], "group": group});
        assert_eq!(server.post(path::ADVERTISE, &call).await.0, 201);
    }
    assert_eq!((own.count("node"), others.count("node")), (1, 2));
    assert_eq!(server.holders("k", "10.0.0.9").await, ["10.0.0.1:1"]);
}

async fn groups_without_a_database_are_refused(engine: Engine) {
    let database = engine.database();
    let named = format!("g={}", database.url());
    let server = Server::start(&["--database", &named]).await;
    server.advertise("10.0.0.1:1", &["k"]).await;
    let call = json!({"holder": "10.0.0.2:1", "keys": ["k"], "group": "h"});
    let (status, reply) = server.post(path::ADVERTISE, &call).await;
    assert_eq!(
        (status, &reply["message"]),
        (400, &json!("group h is not served here"))
    );
    let (status, reply) = server
        .get("/api/v1/distribution/findkey?key=k&group=h")
        .await;
    assert_eq!(
        (status, &reply["error"]),
        (400, &json!("group h is not served here"))
    );
}
