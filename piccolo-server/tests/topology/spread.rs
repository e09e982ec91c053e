//! Nobody is everybody's first.

use std::collections::BTreeMap;

use piccolo_api::path;
use serde_json::json;

use crate::program::Program;

async fn eight_holders() -> (Program, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let server = Program::start(state.path(), &[]).ready().await;
    for host in 1..=8 {
        server
            .advertise(&format!("10.0.1.{host}:7787"), &["k"])
            .await;
    }
    (server, state)
}

#[tokio::test]
async fn of_eight_equal_holders_none_has_more_than_twice_its_share() {
    let (server, _state) = eight_holders().await;
    let mut first = BTreeMap::<String, u32>::new();
    for host in 101..=116 {
        let mut ranked = server.ranked("k", &format!("10.0.1.{host}"), 100).await;
        assert_eq!(ranked.len(), 8);
        *first.entry(ranked.swap_remove(0)).or_default() += 1;
    }
    assert!(first.values().all(|requests| *requests <= 4), "{first:?}");
}

#[tokio::test]
async fn a_holder_that_reports_a_full_house_is_not_first() {
    let (server, _state) = eight_holders().await;
    let load = json!({"uploads": 10, "slots": 10});
    let report = json!({"host": "10.0.1.3:7787", "Group": "g", "load": load});
    server.post(path::KEEPALIVE, &report).await;
    for host in 101..=140 {
        let ranked = server.ranked("k", &format!("10.0.1.{host}"), 100).await;
        assert_eq!(ranked[7], "10.0.1.3:7787", "{ranked:?}");
    }
}
