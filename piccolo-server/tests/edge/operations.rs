//! What operators see: every metric moves.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use piccolo_api::path;
use serde_json::{Value, json};

use crate::{
    engine::{Engine, on_engines},
    process::{Process, program},
    server::eventually,
};

on_engines!(all: metrics_say_what_happened);

/// Series, and the least that each comes to.
const MOVED: [(&str, f64); 22] = [
    // It falls when they are silent.
    ("piccolo_server_go_nodes{database=\"default\"}", 1.0),
    ("piccolo_server_find_holders_count", 2.0),
    (
        "piccolo_server_database_connections{database=\"default\",state=\"idle\"}",
        1.0,
    ),
    (
        "piccolo_server_requests_total{route=\"findkey\",status=\"200\"}",
        1.0,
    ),
    (
        "piccolo_server_requests_total{route=\"findkey\",status=\"404\"}",
        1.0,
    ),
    (
        "piccolo_server_requests_total{route=\"advertise\",status=\"201\"}",
        1.0,
    ),
    (
        "piccolo_server_requests_total{route=\"keepalive\",status=\"400\"}",
        1.0,
    ),
    (
        "piccolo_server_requests_total{route=\"leave\",status=\"201\"}",
        1.0,
    ),
    (
        "piccolo_server_request_seconds_count{route=\"findkey\"}",
        2.0,
    ),
    (
        "piccolo_server_statement_seconds_count{statement=\"select\"}",
        1.0,
    ),
    (
        "piccolo_server_statement_seconds_count{statement=\"commit\"}",
        1.0,
    ),
    ("piccolo_server_batch_changes_count", 1.0),
    ("piccolo_server_batch_keys_sum", 1.0),
    ("piccolo_server_nodes_taken_out_total", 1.0),
    ("piccolo_server_foreign_holders_total", 1.0),
    (
        "piccolo_server_nodes{database=\"default\",state=\"broken\"}",
        1.0,
    ),
    (
        "piccolo_server_nodes{database=\"default\",state=\"left\"}",
        1.0,
    ),
    (
        "piccolo_server_nodes{database=\"default\",state=\"silent\"}",
        1.0,
    ),
    ("piccolo_server_keys{database=\"default\"}", 1.0),
    ("piccolo_server_database_up{database=\"default\"}", 1.0),
    ("piccolo_server_evicted_nodes_total", 4.0),
    ("piccolo_server_evicted_keys_total", 1.0),
];

pub(crate) async fn page(server: &Process) -> BTreeMap<String, f64> {
    let (status, page) = server.admin("/metrics").await;
    assert_eq!(status, 200);
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let value = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    lines.filter_map(value).collect()
}

async fn metrics_say_what_happened(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let timeouts = ["--node-timeout", "1s", "--go-node-timeout", "5s"];
    let flags = ["--database", &url].into_iter().chain(timeouts);
    let server = Process::start(&flags.collect::<Vec<_>>());
    let alive = |host: &str, failures: bool| {
        let failure = json!({"peer": "10.0.0.1:1", "kind": "cut", "count": 1});
        let failures = if failures {
            json!([failure])
        } else {
            json!([])
        };
        json!({"host": host, "Group": "g", "failures": failures})
    };
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    assert_eq!(server.find("k").await, Some(200));
    assert_eq!(server.find("none").await, Some(404));
    for host in ["10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"] {
        assert_eq!(server.advertise(host, "l").await, Some(201));
    }
    let bad = json!({"host": "nowhere", "Group": "g"});
    assert_eq!(server.post(path::KEEPALIVE, &bad).await, Some(400));
    for failures in [false, true] {
        for host in ["10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"] {
            let call = alive(host, failures);
            assert_eq!(server.post(path::KEEPALIVE, &call).await, Some(201));
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let left = json!({"host": "10.0.0.4:1", "Group": "g"});
    assert_eq!(server.post(path::LEAVE, &left).await, Some(201));
    let at_least = |metrics: &BTreeMap<String, f64>, name: &str, least: f64| {
        metrics.get(name).is_some_and(|value| *value >= least)
    };
    for (name, least) in MOVED {
        eventually(name, async || at_least(&page(&server).await, name, least)).await;
    }
}

#[tokio::test]
async fn a_log_for_machines_is_a_json_object_a_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite:{}", directory.path().join("db").display());
    let flags = ["--database", &url, "--log-format", "json"];
    let mut child = program(&["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(flags)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut line = String::new();
    let mut log = BufReader::new(child.stderr.take().expect("a log"));
    let read = log.read_line(&mut line);
    child.kill().expect("it runs");
    child.wait().expect("an end");
    read.expect("a line");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "listening");
    assert!(
        line["timestamp"].is_string() && line["target"].is_string(),
        "{line}"
    );
    let api = line["api"].as_str().expect("text");
    assert!(api.starts_with("127.0.0.1:"), "{line}");
}

#[tokio::test]
async fn metrics_say_that_the_database_is_away() {
    let (mut mariadb, url) = Engine::MariaDb.server();
    let server = Process::start(&["--database", &url]);
    assert_eq!(server.advertise("10.0.0.1:1", "k").await, Some(201));
    mariadb.kill();
    assert_eq!(server.advertise("10.0.0.1:1", "l").await, Some(503));
    // A node whose keepalive no database accepts takes no memory.
    for host in 2..50 {
        let load = json!({"uploads": 1, "slots": 4});
        let call = json!({"holder": format!("10.0.0.{host}:1"), "keys": ["k"], "group": "g", "load": load});
        assert_eq!(server.post(path::ADVERTISE, &call).await, Some(503));
    }
    let up = "piccolo_server_database_up{database=\"default\"}";
    eventually("the database is away", async || {
        page(&server).await.get(up) == Some(&0.0)
    })
    .await;
    let metrics = page(&server).await;
    let silent = "piccolo_server_nodes{database=\"default\",state=\"silent\"}";
    assert_eq!(metrics.get(silent), Some(&0.0));
    let failures = |(name, value): (&String, &f64)| {
        name.starts_with("piccolo_server_statement_failures_total") && *value > 0.0
    };
    assert!(metrics.iter().any(failures), "{metrics:#?}");
}
