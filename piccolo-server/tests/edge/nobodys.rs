//! Holders at addresses where no node is: each agent would connect there.

use std::fs;

use piccolo_api::path;
use serde_json::{Value, json};

use crate::{
    engine::{Engine, on_engines},
    process::Process,
    server::{Server, eventually},
};

on_engines!(all: holders_where_no_node_is_are_refused);

const HONEST: [&str; 2] = ["10.0.0.1:7787", "[fd09::6]:7787"];

/// All calls that speak of a holder.
fn calls(holder: &str) -> [(&'static str, Value); 6] {
    let key = format!("sha256:{}", "a".repeat(64));
    let set = json!({"holder": holder, "keys": [key], "group": "g"});
    let node = json!({"host": holder, "Group": "g"});
    let progress = json!({"holder": holder, "group": "g", "fetches": []});
    let fetch =
        json!({"keys": [key], "group": "g", "intent": "fetch", "holder": holder, "fetches": []});
    [
        (path::ADVERTISE, set.clone()),
        (path::SYNC, set),
        (path::KEEPALIVE, node.clone()),
        (path::PROGRESS, progress),
        (path::FIND, fetch),
        (path::LEAVE, node),
    ]
}

async fn check_refused(server: &Server, holder: &str, says: &str) {
    for (path, call) in calls(holder) {
        let (status, reply) = server.post(path, &call).await;
        // It is told who has the key, and has no part in the crowd: nobody is sent to it.
        if path == path::FIND {
            let found = &reply["results"][0];
            assert!(
                status == 200 && found["key"] == call["keys"][0],
                "{holder}: {reply}"
            );
            assert_eq!(found["swarm"], Value::Null, "{holder}: {reply}");
            continue;
        }
        let reply = reply.to_string();
        assert_eq!(status, 400, "{path} {holder}: {reply}");
        assert!(reply.contains(says), "{path} {holder}: {reply}");
    }
}

async fn check_taken(server: &Server, holder: &str) {
    for (path, call) in calls(holder) {
        let (status, reply) = server.post(path, &call).await;
        assert!(status < 300, "{path} {holder}: {status} {reply}");
    }
}

async fn holders_where_no_node_is_are_refused(engine: Engine) {
    let database = engine.database();
    let url = database.url();
    let flags = [
        "--node-cidrs=10.0.0.0/16,fd00::/8",
        "--holder-port=7787,7788",
    ];
    let server = Server::start(&[&["--database", &url], &flags[..]].concat()).await;
    for (holder, says) in [
        ("10.96.0.1:7787", "--node-cidrs"),
        ("[::ffff:10.96.0.1]:7787", "--node-cidrs"),
        ("198.51.100.7:7787", "--node-cidrs"),
        ("[2001:db8::1]:7787", "--node-cidrs"),
        // Also said by the server's own host, as behind a proxy.
        ("127.0.0.1:7787", "--node-cidrs"),
        ("[::1]:7787", "--node-cidrs"),
        ("10.0.0.1:443", "--holder-port"),
        ("[fd09::6]:22", "--holder-port"),
    ] {
        check_refused(&server, holder, says).await;
    }
    assert_eq!(database.count("node"), 0);
    for holder in HONEST {
        check_taken(&server, holder).await;
    }
    assert_eq!(database.count("node"), 2);
}

/// Without any setting.
#[tokio::test]
async fn holders_that_are_no_hosts_address_are_always_refused() {
    let (server, _database) = Engine::Sqlite.fresh().await;
    for (holder, says) in [
        ("169.254.169.254:80", "on one link only"),
        ("[::ffff:169.254.169.254]:80", "on one link only"),
        ("[fe80::1]:7787", "on one link only"),
        ("255.255.255.255:7787", "on one link only"),
        ("224.0.0.1:7787", "multicast"),
        ("[::ffff:224.0.0.1]:7787", "multicast"),
        ("[ff02::1]:7787", "multicast"),
        ("0.0.0.0:7787", "unspecified"),
        ("[::]:7787", "unspecified"),
        ("[::ffff:0.0.0.0]:7787", "unspecified"),
    ] {
        check_refused(&server, holder, says).await;
    }
    // Of nodes on the server's own host.
    check_taken(&server, "127.0.0.1:7787").await;
    check_taken(&server, "198.51.100.7:443").await;
}

#[tokio::test]
async fn a_topology_file_says_where_nodes_are() {
    let scratch = tempfile::tempdir().expect("a directory");
    let database = format!("sqlite:{}", scratch.path().join("db").display());
    let file = scratch.path().join("topology.yaml");
    let topology = file.display().to_string();
    let put = |text: &str| fs::write(&file, text).expect("it is written");
    let flags = ["--database", &database, "--topology", &topology];
    // A file without addresses says nothing of them.
    put("defaults: {host_link: 10Gbit}");
    let server = Server::start(&flags).await;
    check_taken(&server, "10.96.0.1:7787").await;
    put("tree: [{name: x, cidrs: [10.0.0.0/16]}, {name: y, cidrs: ['fd00::/8']}]");
    let is_in_force = async || {
        let call = json!({"host": "10.96.0.1:7787", "Group": "g"});
        server.post(path::LEAVE, &call).await.0 == 400
    };
    eventually("the file is in force", is_in_force).await;
    for holder in [
        "10.96.0.1:443",
        "[::ffff:10.96.0.1]:443",
        "[2001:db8::1]:443",
    ] {
        check_refused(&server, holder, "topology file").await;
    }
    for holder in HONEST {
        check_taken(&server, holder).await;
    }
    // What is set goes before what the file has.
    let all = [&flags[..], &["--node-cidrs=0.0.0.0/0,::/0"]].concat();
    let server = Server::start(&all).await;
    check_taken(&server, "10.96.0.1:7787").await;
}

#[tokio::test]
async fn refused_holders_are_counted_and_logged() {
    let scratch = tempfile::tempdir().expect("a directory");
    let database = format!("sqlite:{}", scratch.path().join("db").display());
    let flags = ["--node-cidrs=10.0.0.0/16", "--holder-port=7787"];
    let server = Process::start(&[&["--database", &database], &flags[..]].concat());
    for holder in ["10.96.0.1:7787", "10.0.0.1:443", "169.254.169.254:7787"] {
        let call = json!({"holder": holder, "keys": ["k"], "group": "g"});
        assert_eq!(
            server.post(path::ADVERTISE, &call).await,
            Some(400),
            "{holder}"
        );
    }
    let (_, metrics) = server.admin("/metrics").await;
    for reason in ["outside", "port", "local"] {
        let series = format!("piccolo_server_holders_refused_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&series), "{series}: {metrics}");
    }
    let log = server.log().join("\n");
    assert!(
        log.contains("a holder was refused") && log.contains("10.96.0.1:7787"),
        "{log}"
    );
}
