//! Sets that came apart from what their nodes' rows say of them.

use piccolo_api::path;
use serde_json::{Value, json};

use crate::{
    engine::{Engine, on_engines},
    server::{Server, eventually},
};

on_engines!(all: a_set_that_differs_from_its_row_is_said_again);

/// The digest whose stored hash is all of this byte.
fn key(byte: u8) -> String {
    format!("sha256:{}", hex::encode([byte; 32]))
}

fn number(n: u32) -> String {
    format!("sha256:{n:08x}{:056}", 0)
}

struct Node {
    holder: &'static str,
    keys: Vec<String>,
}

impl Node {
    async fn sync(&self, server: &Server) {
        let Self { holder, keys } = self;
        let call = json!({"holder": holder, "keys": keys, "group": "g", "epoch": 7, "seq": 1});
        let (status, reply) = server.post(path::SYNC, &call).await;
        assert_eq!(status, 201, "{reply}");
    }

    async fn is_asked(&self, server: &Server) -> bool {
        let call = json!({"host": self.holder, "Group": "g", "epoch": 7, "seq": 1});
        let (status, reply) = server.post(path::KEEPALIVE, &call).await;
        assert_eq!(status, 201, "{reply}");
        reply["resync"] != Value::Null
    }
}

async fn a_set_that_differs_from_its_row_is_said_again(engine: Engine) {
    let database = engine.database();
    let flags = ["--database", &database.url(), "--find-cache-ttl", "0"];
    let server = Server::start(&flags).await;
    let whole = Node {
        holder: "10.0.0.1:7787",
        keys: vec![key(0xee)],
    };
    let swapped = Node {
        holder: "10.0.0.2:7787",
        keys: vec![key(0), key(0xbb)],
    };
    // More than one statement reads, and the one that is missing comes last.
    let large = Node {
        holder: "10.0.0.3:7787",
        keys: (1..=5000).map(number).collect(),
    };
    for node in [&whole, &swapped, &large] {
        node.sync(&server).await;
        assert!(!node.is_asked(&server).await);
    }
    let hash = |byte: u8| format!("X'{}'", hex::encode([byte; 16]));
    let last = format!("X'{:08x}{:024}'", 5000, 0);
    database.query(&format!(
        "INSERT INTO holding (space, key_hash, holder) SELECT space, {}, holder FROM holding WHERE key_hash = {1};
        DELETE FROM holding WHERE key_hash = {1};
        DELETE FROM holding WHERE key_hash = {last}",
        hash(0xdd),
        hash(0xbb),
    ));
    // The rows say that nothing changed.
    swapped.sync(&server).await;
    assert_eq!(server.holders(&key(0xdd), "10.0.0.9").await.len(), 1);
    for node in [&swapped, &large] {
        eventually("it is asked for its set", async || {
            node.is_asked(&server).await
        })
        .await;
        node.sync(&server).await;
        assert!(!node.is_asked(&server).await);
    }
    assert!(!whole.is_asked(&server).await);
    let mut holders = Vec::new();
    for key in [key(0xee), key(0), key(0xbb), key(0xdd), number(5000)] {
        holders.push(server.holders(&key, "10.0.0.9").await.len());
    }
    assert_eq!(holders, [1, 1, 1, 0, 1]);
}
