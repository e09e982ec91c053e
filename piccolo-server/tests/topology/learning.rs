//! What agents report changes whom others are sent to.

use std::fs;

use piccolo_api::path;
use serde_json::{Value, json};

use crate::program::{Program, pause, received};

/// The slow holder is in the neighbouring prefix, the fast one far away.
const REQUESTER: &str = "10.0.2.1";
const SLOW: &str = "10.0.3.1:7787";
const FAST: &str = "10.64.0.1:7787";

async fn first(server: &Program) -> String {
    server.ranked("k", REQUESTER, 10).await.swap_remove(0)
}

/// Both have the key; a neighbour of the requester has pulled from both a few times.
async fn after_some_pulls(server: &Program) {
    for holder in [SLOW, FAST] {
        server.advertise(holder, &["k"]).await;
    }
    for (peer, megabytes) in [("10.0.3.1", 5), ("10.64.0.1", 1000)] {
        let report = received("10.0.2.9:7787", peer, megabytes);
        server.post(path::KEEPALIVE, &report).await;
    }
}

async fn pair(server: &Program, from: &str, to: &str) -> Value {
    let known = server.get(path::BANDWIDTH).await;
    let pairs = known["pairs"].as_array().unwrap();
    let pair = pairs
        .iter()
        .find(|pair| pair["from"] == from && pair["to"] == to);
    pair.cloned().unwrap_or_default()
}

fn quiet_file(state: &std::path::Path) -> String {
    // No probes: this is about the usual choice. One report of seconds stands for several of
    // several moments.
    let file = state.join("topology.yaml");
    fs::write(&file, "ranking: {probe_share: 0, prior_weight: 0.2}\n").unwrap();
    format!("--topology={}", file.display())
}

#[tokio::test]
async fn a_path_that_proves_slow_is_left_for_a_farther_one() {
    let state = tempfile::tempdir().unwrap();
    let flag = quiet_file(state.path());
    let server = Program::start(state.path(), &[&flag]).ready().await;
    for holder in [SLOW, FAST] {
        server.advertise(holder, &["k"]).await;
    }
    assert_eq!(
        first(&server).await,
        SLOW,
        "the nearer one, as long as nothing is known"
    );
    after_some_pulls(&server).await;
    assert_eq!(first(&server).await, FAST);

    let slow = pair(&server, "10.0.3.0/24", "10.0.2.0/24").await;
    assert!(
        (slow["observed"].as_f64().unwrap() - 40e6).abs() < 1e6,
        "{slow}"
    );
    assert!(slow["estimate"].as_f64().unwrap() < 1e9, "{slow}");
    assert!(slow["samples"].as_f64().unwrap() > 0.5, "{slow}");
    assert!(slow["age_seconds"].is_number(), "{slow}");

    let query = format!("key=k&group=g&request_host={REQUESTER}");
    let explained = server.get(&format!("{}?{query}", path::EXPLAIN)).await;
    assert_eq!(explained["rack"], "10.0.2.0/24");
    let candidates = explained["candidates"].as_array().unwrap();
    assert_eq!(candidates[0]["holder"], FAST);
    for candidate in candidates {
        let terms = ["prefix", "tree", "bandwidth", "load"];
        let points = terms.map(|term| candidate[term]["points"].as_f64().unwrap());
        let score = candidate["score"].as_f64().unwrap();
        assert!(
            (points.iter().sum::<f64>() - score).abs() < 1e-6,
            "{candidate}"
        );
    }
}

#[tokio::test]
async fn reports_of_the_impossible_teach_nothing() {
    let state = tempfile::tempdir().unwrap();
    let server = Program::start(state.path(), &[]).ready().await;
    server.advertise("10.0.3.1:7787", &["k"]).await;
    let mut report = received("10.0.2.9:7787", "10.0.3.1", 1);
    report["observations"][0]["received"]["busy_us"] = 1.into();
    server.post(path::KEEPALIVE, &report).await;
    let own = received("10.0.2.9:7787", "10.0.2.9", 100);
    server.post(path::KEEPALIVE, &own).await;
    let counted = "piccolo_server_bandwidth_samples_total{verdict=\"counted\"}";
    assert!(server.metric(counted).await.abs() < 1e-9);
    assert_eq!(
        pair(&server, "10.0.3.0/24", "10.0.2.0/24").await["observed"],
        Value::Null
    );
}

/// Or else one agent could fill the table of pairs.
#[tokio::test]
async fn reports_of_peers_that_are_no_nodes_teach_nothing() {
    let state = tempfile::tempdir().unwrap();
    let server = Program::start(state.path(), &[]).ready().await;
    let series =
        |verdict| format!("piccolo_server_bandwidth_samples_total{{verdict=\"{verdict}\"}}");
    let (stranger, counted) = (series("stranger"), series("counted"));
    let invented = received("10.0.2.9:7787", "10.0.3.1", 100);
    server.post(path::KEEPALIVE, &invented).await;
    assert!((server.metric(&stranger).await - 1.0).abs() < 1e-9);
    assert!(server.metric(&counted).await.abs() < 1e-9);
    // A node of another group is none of this one's.
    let elsewhere = json!({"holder": "10.0.3.1:7787", "keys": ["k"], "group": "other"});
    server.post(path::ADVERTISE, &elsewhere).await;
    server.post(path::KEEPALIVE, &invented).await;
    assert!((server.metric(&stranger).await - 2.0).abs() < 1e-9);
    server.advertise("10.0.3.1:5000", &["k"]).await;
    server.post(path::KEEPALIVE, &invented).await;
    assert!((server.metric(&counted).await - 1.0).abs() < 1e-9);
    let known = pair(&server, "10.0.3.0/24", "10.0.2.0/24").await;
    assert!(known["observed"].is_number(), "{known}");
}

#[tokio::test]
async fn what_was_learned_is_shared_and_outlives_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let flag = quiet_file(state.path());
    let one = Program::start(state.path(), &[&flag]).ready().await;
    let other = Program::start(state.path(), &[&flag]).ready().await;
    after_some_pulls(&one).await;
    // The instances exchange every five seconds.
    for _ in 0..800 {
        if pair(&other, "10.64.0.0/24", "10.0.2.0/24").await["observed"].is_number() {
            break;
        }
        pause().await;
    }
    assert_eq!(first(&other).await, FAST);
    one.stop();
    other.stop();
    let again = Program::start(state.path(), &[&flag]).ready().await;
    let slow = pair(&again, "10.0.3.0/24", "10.0.2.0/24").await;
    assert!(
        (slow["observed"].as_f64().unwrap() - 40e6).abs() < 1e6,
        "{slow}"
    );
    assert_eq!(
        slow["age_seconds"],
        Value::Null,
        "this instance has seen nothing itself"
    );
}

#[tokio::test]
async fn the_metrics_say_what_is_known() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("topology.yaml");
    let text =
        "tree:\n  - {name: two, cidrs: [10.0.2.0/24]}\n  - {name: three, cidrs: [10.0.3.0/24]}\n";
    fs::write(&file, text).unwrap();
    let flag = format!("--topology={}", file.display());
    // The fast holder is at no address of the file.
    let nodes = "--node-cidrs=10.0.0.0/8";
    let server = Program::start(state.path(), &[&flag, nodes]).ready().await;
    after_some_pulls(&server).await;
    first(&server).await;
    let labels = "{from=\"three\",to=\"two\"}";
    let estimate = format!("piccolo_server_bandwidth_estimate_bits_per_second{labels}");
    let observed = format!("piccolo_server_bandwidth_observed_bits_per_second{labels}");
    for _ in 0..800 {
        if server.metric(&estimate).await > 0.0 {
            break;
        }
        pause().await;
    }
    assert!(server.metric(&estimate).await > server.metric(&observed).await);
    assert!((server.metric(&observed).await - 40e6).abs() < 1e6);
    for (series, at_least) in [
        ("piccolo_server_bandwidth_pairs", 2.0),
        ("piccolo_server_unknown_addresses", 1.0),
        (
            "piccolo_server_bandwidth_samples_total{verdict=\"counted\"}",
            2.0,
        ),
        (
            "piccolo_server_bandwidth_shares_total{outcome=\"good\"}",
            1.0,
        ),
        ("piccolo_server_find_first_total{tier=\"far\"}", 1.0),
        ("piccolo_server_find_peers_total{rack=\"other\"}", 2.0),
    ] {
        assert!(server.metric(series).await >= at_least, "{series}");
    }
}
