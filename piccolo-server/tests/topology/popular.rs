//! A key that very many have costs no more than another, and is answered as well.

use std::collections::BTreeSet;

use crate::program::{Program, pause};

const CACHE: &str = "piccolo_server_find_cache_total";

/// 30 racks of 20, all with the key, far more than one query reads.
async fn many(flags: &[&str]) -> (Program, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let server = Program::start(state.path(), flags).ready().await;
    let all = (0..600).map(|n| format!("10.0.{}.{}:7787", n / 20, n % 20 + 1));
    let all: Vec<_> = all.collect();
    for some in all.chunks(60) {
        let calls = some.iter().map(|holder| async {
            server.advertise(holder, &["k"]).await;
        });
        futures_util::future::join_all(calls).await;
    }
    (server, state)
}

/// Whose racks the answer for that host has.
async fn racks(server: &Program, host: &str) -> BTreeSet<String> {
    let found = server.ranked("k", host, 30).await;
    assert_eq!(found.len(), 30);
    let rack = |holder: &String| holder.rsplit_once('.').unwrap().0.to_owned();
    found.iter().map(rack).collect()
}

#[tokio::test]
async fn each_requester_gets_its_own_rack_with_the_cache_and_without() {
    for flags in [["--find-cache-ttl=0"], ["--find-cache-ttl=1m"]] {
        let (server, _state) = many(&flags).await;
        for round in 0..10 {
            for rack in [0, 3, 17, 29] {
                let host = format!("10.0.{rack}.{}", 100 + round);
                let racks = racks(&server, &host).await;
                assert!(racks.contains(&format!("10.0.{rack}")), "{host}: {racks:?}");
            }
            // The whole list is read in the background by now.
            pause().await;
        }
        let hits = server.metric(&format!("{CACHE}{{outcome=\"hit\"}}")).await;
        assert_eq!(
            hits > 0.0,
            flags != ["--find-cache-ttl=0"],
            "{flags:?} {hits}"
        );
    }
}

#[tokio::test]
async fn a_herd_that_asks_for_one_key_costs_the_database_one_query() {
    let state = tempfile::tempdir().unwrap();
    let server = Program::start(state.path(), &["--find-cache-ttl=1m"])
        .ready()
        .await;
    server.advertise("10.0.0.1:7787", &["k", "other"]).await;
    let finds = (1..=50).map(|host| {
        let (server, host) = (&server, format!("10.0.5.{host}"));
        async move { server.ranked("k", &host, 100).await }
    });
    for found in futures_util::future::join_all(finds).await {
        assert_eq!(found, ["10.0.0.1:7787"]);
    }
    let outcome = async |outcome| {
        server
            .metric(&format!("{CACHE}{{outcome=\"{outcome}\"}}"))
            .await
    };
    assert!((outcome("miss").await - 1.0).abs() < 1e-9);
    assert!((outcome("hit").await - 49.0).abs() < 1e-9);
}

#[tokio::test]
async fn what_was_stored_is_found_although_the_key_was_asked_for_just_before() {
    let state = tempfile::tempdir().unwrap();
    let server = Program::start(state.path(), &["--find-cache-ttl=1m"])
        .ready()
        .await;
    server.advertise("10.0.0.1:7787", &["k"]).await;
    for host in 2..10 {
        assert_eq!(server.ranked("k", "10.0.9.9", 100).await.len(), host - 1);
        server
            .advertise(&format!("10.0.0.{host}:7787"), &["k"])
            .await;
    }
    let sync = serde_json::json!({"holder": "10.0.0.4:7787", "keys": ["other"], "group": "g"});
    server.post(piccolo_api::path::SYNC, &sync).await;
    let found = server.ranked("k", "10.0.9.9", 100).await;
    assert_eq!(found.len(), 8);
    assert!(!found.contains(&"10.0.0.4:7787".to_owned()));
}

#[tokio::test]
async fn holders_of_a_fast_rack_are_candidates_wherever_they_are() {
    let (server, state) = many(&[]).await;
    let file = state.path().join("topology.yaml");
    let text = "\
ranking: {probe_share: 0, remote_share: 0}
defaults: {host_link: 100Gbit}
tree:
  - name: slow
    uplink: 100Mbit
    children:
      - {name: slow-racks, cidrs: [10.0.16.0/20], rack_prefix: {ipv4: 24}, uplink: 100Mbit}
  - {name: fast, cidrs: [10.0.2.0/24]}
  - {name: asking, cidrs: [10.0.40.0/24]}
";
    std::fs::write(&file, text).unwrap();
    drop(server);
    let flag = format!("--topology={}", file.display());
    for ttl in ["0", "1m"] {
        let cache = format!("--find-cache-ttl={ttl}");
        let server = Program::start(state.path(), &[&flag, &cache]).ready().await;
        for _ in 0..8 {
            let ranked = server.ranked("k", "10.0.40.200", 3).await;
            let fast = ranked.iter().filter(|holder| holder.starts_with("10.0.2."));
            assert!(fast.count() >= 2, "ttl {ttl}: {ranked:?}");
            pause().await;
        }
    }
}
