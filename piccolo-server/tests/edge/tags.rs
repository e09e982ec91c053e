//! Tags that the nodes of a group resolve together.

use std::time::Duration;

use piccolo_api::path;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::Server;

const NODES: [&str; 3] = ["10.0.0.1:7787", "10.0.0.2:7787", "10.0.0.3:7787"];
const TAG: &str = "registry.test/lib/app:v1";

/// A server that knows the nodes.
async fn start() -> (Server, TempDir) {
    let state = tempfile::tempdir().expect("a directory");
    let database = format!("sqlite:{}", state.path().join("db").display());
    let server = Server::start(&["--database", &database]).await;
    for node in NODES {
        server.advertise(node, &["k"]).await;
    }
    (server, state)
}

async fn call(server: &Server, call: Value) -> Value {
    let (status, reply) = server.post(path::TAG, &call).await;
    assert_eq!(status, 200, "{reply}");
    reply
}

async fn ask(server: &Server, node: &str, max_age_ms: u64) -> Value {
    let question = json!({"holder": node, "group": "g", "tag": TAG, "max_age_ms": max_age_ms});
    call(server, question).await
}

async fn tell(server: &Server, node: &str, said: Value) {
    let told = json!({
        "holder": node, "group": "g", "tag": TAG, "max_age_ms": 60_000, "said": said,
    });
    assert_eq!(call(server, told).await, json!({"verdict": "alone"}));
}

fn word(c: char) -> Value {
    let digest = format!("sha256:{}", c.to_string().repeat(64));
    json!({"word": "digest", "digest": digest, "size": 7, "media_type": "text/plain"})
}

#[tokio::test]
async fn one_node_asks_the_registry_and_all_take_its_word() {
    let (server, _state) = start().await;
    let [first, second, third] = NODES;
    assert_eq!(ask(&server, first, 60_000).await["verdict"], "ask");
    assert_eq!(ask(&server, second, 60_000).await["verdict"], "wait");
    // A reply that was lost.
    assert_eq!(ask(&server, first, 60_000).await["verdict"], "ask");
    // Nobody else says what the registry said.
    tell(&server, second, word('b')).await;
    assert_eq!(ask(&server, third, 60_000).await["verdict"], "wait");
    tell(&server, first, word('a')).await;
    tell(&server, first, word('b')).await;
    for node in NODES {
        let known = ask(&server, node, 60_000).await;
        let age = known["age_ms"].as_u64().expect("an age");
        assert!(age < 30_000, "{known}");
        let mut expected = word('a');
        let fields = expected.as_object_mut().expect("fields");
        fields.remove("word");
        fields.insert("verdict".into(), json!("known"));
        fields.insert("age_ms".into(), json!(age));
        fields.insert("by".into(), json!(first));
        assert_eq!(known, expected);
    }
    // Another group, and who is no node of one.
    let other = json!({"holder": first, "group": "other", "tag": TAG, "max_age_ms": 60_000});
    assert_eq!(call(&server, other).await["verdict"], "alone");
    assert_eq!(
        ask(&server, "10.0.0.9:7787", 60_000).await["verdict"],
        "alone"
    );
}

#[tokio::test]
async fn a_word_is_good_for_as_long_as_was_asked_for() {
    let (server, _state) = start().await;
    let [first, second, _] = NODES;
    assert_eq!(ask(&server, first, 700).await["verdict"], "ask");
    tell(&server, first, word('a')).await;
    assert_eq!(ask(&server, second, 700).await["verdict"], "known");
    assert_eq!(ask(&server, second, 0).await["verdict"], "alone");
    tokio::time::sleep(Duration::from_millis(10)).await;
    // Who wants a younger one asks for itself, and replaces nothing.
    assert_eq!(ask(&server, second, 1).await["verdict"], "alone");
    assert_eq!(ask(&server, second, 700).await["verdict"], "known");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(ask(&server, second, 700).await["verdict"], "ask");
    tell(&server, second, word('b')).await;
    assert_eq!(
        ask(&server, first, 700).await["digest"],
        word('b')["digest"]
    );
}

#[tokio::test]
async fn what_a_registry_refuses_is_known_and_what_it_does_not_answer_is_nobodys() {
    let (server, _state) = start().await;
    let [first, second, _] = NODES;
    for (said, verdict) in [
        (json!({"word": "refused"}), "refused"),
        (json!({"word": "nothing"}), "alone"),
        // What a newer agent may say.
        (json!({"word": "later"}), "alone"),
        (
            json!({"word": "digest", "digest": "x".repeat(300)}),
            "alone",
        ),
    ] {
        let (server, _state) = start().await;
        assert_eq!(ask(&server, first, 60_000).await["verdict"], "ask");
        tell(&server, first, said.clone()).await;
        assert_eq!(
            ask(&server, second, 60_000).await["verdict"],
            verdict,
            "{said}"
        );
    }
    let bad = json!({"holder": first, "group": "g", "tag": "", "max_age_ms": 1});
    assert_eq!(server.post(path::TAG, &bad).await.0, 400);
}

#[tokio::test]
async fn a_node_that_is_not_heard_again_is_replaced_once() {
    let (server, _state) = start().await;
    let [first, second, third] = NODES;
    assert_eq!(ask(&server, first, 60_000).await["verdict"], "ask");
    tokio::time::sleep(Duration::from_millis(2600)).await;
    assert_eq!(ask(&server, first, 60_000).await["verdict"], "alone");
    assert_eq!(ask(&server, second, 60_000).await["verdict"], "ask");
    assert_eq!(ask(&server, third, 60_000).await["verdict"], "wait");
    tokio::time::sleep(Duration::from_millis(2600)).await;
    // From now on nobody waits for anybody for a while.
    assert_eq!(ask(&server, third, 60_000).await["verdict"], "alone");
    // It comes late, and is good all the same.
    tell(&server, second, word('a')).await;
    assert_eq!(ask(&server, third, 60_000).await["verdict"], "known");
}

/// A node that names more tags than a node has asks for the rest by itself, and takes no room from others.
#[tokio::test]
async fn a_node_has_a_share_of_what_is_remembered() {
    let (server, _state) = start().await;
    let of = async |node: &str, n: u32| {
        let tag = format!("registry.test/lib/{node}:v{n}");
        let question = json!({"holder": node, "group": "g", "tag": tag, "max_age_ms": 60_000});
        call(&server, question).await["verdict"].take()
    };
    for n in 0..256 {
        assert_eq!(of(NODES[0], n).await, "ask", "{n}");
    }
    assert_eq!(of(NODES[0], 256).await, "alone");
    assert_eq!(of(NODES[1], 0).await, "ask");
}
