//! What agents report of their peers never stands in the way of what they call for.

use piccolo_api::path;
use serde_json::{Value, json};

use crate::engine::Engine;

const HOLDER: &str = "10.0.0.1:7787";

fn observation(peer: &str, bytes: u64) -> Value {
    json!({
        "peer": peer, "interval_ms": 1000, "received": {"bytes": bytes, "rated_bytes": 0, "busy_us": 0},
        "sent": {"bytes": 0, "rated_bytes": 0, "busy_us": 0},
    })
}

/// Advertises, syncs and sends a keepalive with these reports.
async fn check(observations: Value, failures: Value) {
    let (server, _dir) = Engine::Sqlite.fresh().await;
    let calls = [
        (
            path::SYNC,
            json!({"holder": HOLDER, "keys": ["a"], "epoch": 7, "seq": 1}),
        ),
        (
            path::ADVERTISE,
            json!({"holder": HOLDER, "keys": ["b"], "epoch": 7, "seq": 2}),
        ),
        (
            path::KEEPALIVE,
            json!({"host": HOLDER, "epoch": 7, "seq": 2}),
        ),
    ];
    for (path, mut call) in calls {
        call["group"] = json!("g");
        call["observations"] = observations.clone();
        call["failures"] = failures.clone();
        let (status, reply) = server.post(path, &call).await;
        assert_eq!((status, &reply["success"]), (201, &json!(true)), "{call}");
        assert_eq!(reply["resync"], Value::Null, "{call}");
    }
    for key in ["a", "b"] {
        assert_eq!(server.holders(key, "10.0.0.9").await, [HOLDER]);
    }
}

#[tokio::test]
async fn a_usual_report() {
    let failure = json!({"peer": "10.0.0.3:7787", "kind": "cut", "count": 2});
    check(json!([observation("10.0.0.2", 1000)]), json!([failure])).await;
}

#[tokio::test]
async fn a_report_of_the_impossible() {
    let observations = json!([
        observation("10.0.0.1", 1000),
        observation("10.0.0.2", u64::MAX),
        observation("0.0.0.0", 1),
    ]);
    let failure = json!({"peer": HOLDER, "kind": "wrong_bytes", "count": 4_000_000_000_u32});
    check(observations, json!([failure])).await;
}

#[tokio::test]
async fn a_report_that_cannot_be_read() {
    check(json!([{"peer": "nobody"}, null, -1]), json!("none")).await;
    check(json!({"peer": []}), json!([{"kind": 7}])).await;
}
