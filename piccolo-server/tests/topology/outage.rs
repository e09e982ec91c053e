//! The database goes away and comes back under running finds.

use std::time::Duration;

use testbed::{Product, SqlServer};

use crate::program::{Program, pause};

const STALE: &str = "piccolo_server_find_cache_total{outcome=\"stale\"}";

#[tokio::test]
async fn finds_of_known_keys_do_not_fail_while_the_database_is_restarted() {
    let state = tempfile::tempdir().unwrap();
    let mut database = SqlServer::start(Product::MariaDb).unwrap();
    database.create("piccolo").unwrap();
    let flag = format!("--database={}", database.url("piccolo"));
    let server = Program::start(state.path(), &[&flag, "--find-cache-ttl=50ms"])
        .ready()
        .await;
    for host in 1..=5 {
        server
            .advertise(&format!("10.0.1.{host}:7787"), &["k"])
            .await;
    }
    let find = async || server.ranked("k", "10.0.2.1", 100).await.len();
    assert_eq!(find().await, 5);
    // First it does not answer, then it is gone.
    database.freeze().unwrap();
    for round in 0..20 {
        if round == 10 {
            database.kill();
        }
        // The list is older than it lasts.
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(find().await, 5);
    }
    assert!(server.metric(STALE).await >= 1.0);
    database.resume().unwrap();
    for _ in 0..400 {
        let before = server.metric(STALE).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(find().await, 5);
        if server.metric(STALE).await - before < 0.5 {
            return;
        }
        pause().await;
    }
    panic!("the server does not find its database again");
}
