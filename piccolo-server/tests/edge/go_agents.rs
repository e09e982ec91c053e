//! The calls of the Go agents that are deployed today, to the letter.

use serde_json::json;

use crate::{
    engine::{Engine, on_engines},
    raw::exchange,
    server::texts,
};

const ADVERTISE: &str = "/api/v1/distribution/advertise";
const SYNC: &str = "/api/v1/distribution/sync";
const KEEPALIVE: &str = "/api/v1/keepalive";
const DIGEST: &str = "sha256:0e54c9b2ff1b0b1d2f0bfa4d3d04c7a3cf2ac94cda0ba36c1d8a14a1b6aa7bf3";

fn find(key: &str, host: &str) -> String {
    format!("/api/v1/distribution/findkey?key={key}&group=g&count=100&request_host={host}")
}

on_engines!(all:
    what_is_advertised_is_found,
    nobody_is_404,
    the_requester_is_left_out,
    bad_calls_are_told_what_is_wrong,
    a_query_without_values_is_as_one_without_names,
    what_go_overlooks_is_overlooked,
    what_is_no_call_is_told_so,
    a_sync_replaces_the_set,
    groups_are_apart,
    a_keepalive_brings_a_silent_node_back,
    ipv6_holders_are_found_too,
    it_is_healthy,
);

async fn what_is_advertised_is_found(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let call = json!({"holder": "10.0.0.1:5123", "keys": [DIGEST, "docker.io/library/redis:7"], "group": "g"});
    let created = json!({"success": true, "message": "Distribution created!"});
    assert_eq!(server.post(ADVERTISE, &call).await, (201, created));
    for key in [DIGEST, "docker.io/library/redis:7"] {
        let (status, reply) = server.get(&find(key, "10.0.0.2")).await;
        assert_eq!(status, 200);
        assert_eq!(reply["key"], key);
        assert_eq!(reply["Group"], "g");
        assert_eq!(reply["total"], 0);
        assert_eq!(texts(&reply["holders"]), ["10.0.0.1:5123"]);
    }
}

async fn nobody_is_404(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let (status, reply) = server.get(&find(DIGEST, "10.0.0.2")).await;
    assert_eq!(status, 404);
    assert!(reply["message"].is_string(), "{reply}");
}

async fn the_requester_is_left_out(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    for holder in ["10.0.0.1:5123", "10.0.0.2:5123"] {
        let call = json!({"holder": holder, "keys": [DIGEST], "group": "g"});
        assert_eq!(server.post(ADVERTISE, &call).await.0, 201);
    }
    assert_eq!(server.holders(DIGEST, "10.0.0.2").await, ["10.0.0.1:5123"]);
}

async fn bad_calls_are_told_what_is_wrong(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let nothing = json!({"success": false, "message": "No operation needed"});
    for keys in [json!([]), json!(["", ""])] {
        let call = json!({"holder": "10.0.0.1:5123", "keys": keys, "group": "g"});
        assert_eq!(server.post(ADVERTISE, &call).await, (400, nothing.clone()));
    }
    for call in [
        json!({"keys": ["a"], "group": "g"}),
        json!({"holder": "10.0.0.1:5123", "group": "g"}),
        json!({"holder": "10.0.0.1:5123", "keys": ["a"]}),
        json!({"holder": "10.0.0.1", "keys": ["a"], "group": "g"}),
        json!({"holder": "10.0.0.1:5123", "keys": "a", "group": "g"}),
        json!({"holder": "10.0.0.1:5123", "keys": ["a"], "group": ""}),
        json!([]),
    ] {
        let (status, reply) = server.post(ADVERTISE, &call).await;
        assert_eq!(status, 400, "{call}");
        assert_eq!(reply["success"], false);
        let message = reply["message"].as_str().expect("a message");
        assert!(message.starts_with("Wrong request format: "), "{message}");
    }
    for query in [
        "",
        "?key=a",
        "?group=g",
        "?key=a&group=g&request_host=x",
        "?key=a&group=g&count=x",
    ] {
        let (status, reply) = server
            .get(&format!("/api/v1/distribution/findkey{query}"))
            .await;
        assert_eq!(status, 400, "{query}");
        assert!(reply["error"].is_string(), "{reply}");
    }
}

async fn a_query_without_values_is_as_one_without_names(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    for holder in ["10.0.0.1:5123", "127.0.0.1:5123"] {
        let call = json!({"holder": holder, "keys": ["a"], "group": "g"});
        assert_eq!(server.post(ADVERTISE, &call).await.0, 201);
    }
    for query in ["", "&request_host=&count=", "&count=0", "&request_host="] {
        let path = format!("/api/v1/distribution/findkey?key=a&group=g{query}");
        let (status, reply) = server.get(&path).await;
        assert_eq!(status, 200, "{query}: {reply}");
        // The caller is the requester, and is left out.
        assert_eq!(texts(&reply["holders"]), ["10.0.0.1:5123"], "{query}");
    }
    for query in ["key=&group=g", "key=a&group="] {
        let path = format!("/api/v1/distribution/findkey?{query}");
        assert_eq!(server.get(&path).await.0, 400, "{query}");
    }
}

/// Of a query's names the first counts, and what comes behind a body does not.
async fn what_go_overlooks_is_overlooked(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let body = json!({"holder": "10.0.0.1:5123", "keys": ["a"], "group": "g"});
    let body = format!("{body} and {{more");
    let call = format!(
        "POST {ADVERTISE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = exchange(server.api, &call).await;
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    // The last of several members counts, in any case, and `null` is nothing.
    let body =
        r#"{"Keys":["z"],"holder":"10.0.0.3:5123","KEYS":["c",null],"holder":null,"group":"g"}"#;
    let call = format!(
        "POST {ADVERTISE} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = exchange(server.api, &call).await;
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    assert_eq!(server.holders("c", "10.0.0.2").await, ["10.0.0.3:5123"]);
    let (status, _) = server.get(&find("z", "10.0.0.2")).await;
    assert_eq!(status, 404);
    let twice = "?key=a&key=b&group=g&group=h&count=5&count=x&request_host=10.0.0.2&request_host=";
    let path = format!("/api/v1/distribution/findkey{twice}");
    let (status, reply) = server.get(&path).await;
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["key"], "a");
    let (status, _) = server.get("/api/v1/distribution/findkey?key=a&key=b").await;
    assert_eq!(status, 400);
}

async fn what_is_no_call_is_told_so(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let nowhere = server.get("/api/v1/distribution/nothing").await;
    let error = json!({"error": "there is no call /api/v1/distribution/nothing"});
    assert_eq!(nowhere, (404, error));
    for path in [ADVERTISE, "/api/v1/distribution/find"] {
        let (status, reply) = server.get(path).await;
        assert_eq!(status, 405, "{path}");
        assert_eq!(reply, json!({"error": format!("{path} does not take GET")}));
    }
    for path in ["/api/v1/distribution/findkey", "/healthz"] {
        let (status, reply) = server.post(path, &json!({})).await;
        assert_eq!(status, 405, "{path}");
        assert_eq!(
            reply,
            json!({"error": format!("{path} does not take POST")})
        );
    }
    let call = format!("PUT {SYNC} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let reply = exchange(server.api, &call).await;
    assert!(reply.starts_with("HTTP/1.1 405"), "{reply}");
    assert!(reply.contains("\r\nallow: POST\r\n"), "{reply}");
    assert!(
        reply.contains("\r\ncontent-type: application/json"),
        "{reply}"
    );
}

async fn a_sync_replaces_the_set(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let sync = async |keys: &[&str]| {
        let call = json!({"holder": "10.0.0.1:5123", "keys": keys, "group": "g"});
        server.post(SYNC, &call).await
    };
    let created = json!({"success": true, "message": "Distribution created!"});
    assert_eq!(sync(&["a", "b"]).await, (201, created.clone()));
    assert_eq!(sync(&["b", "c"]).await, (201, created.clone()));
    let status = async |key| server.get(&find(key, "10.0.0.2")).await.0;
    assert_eq!(
        (status("a").await, status("b").await, status("c").await),
        (404, 200, 200)
    );
    assert_eq!(sync(&[]).await, (201, created));
    assert_eq!((status("b").await, status("c").await), (404, 404));
}

async fn groups_are_apart(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let call = json!({"holder": "10.0.0.1:5123", "keys": ["a"], "group": "other"});
    assert_eq!(server.post(ADVERTISE, &call).await.0, 201);
    assert_eq!(server.get(&find("a", "10.0.0.2")).await.0, 404);
}

async fn a_keepalive_brings_a_silent_node_back(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    let call = json!({"holder": "10.0.0.1:5123", "keys": ["a"], "group": "g"});
    assert_eq!(server.post(ADVERTISE, &call).await.0, 201);
    server.clock.advance(std::time::Duration::from_secs(1861));
    assert_eq!(server.get(&find("a", "10.0.0.2")).await.0, 404);
    let alive = json!({"success": true, "message": "keep alive success"});
    let call = json!({"host": "10.0.0.1:5123", "Group": "g"});
    assert_eq!(server.post(KEEPALIVE, &call).await, (201, alive));
    assert_eq!(server.get(&find("a", "10.0.0.2")).await.0, 200);
}

async fn ipv6_holders_are_found_too(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    for holder in ["[2001:db8::1]:5123", "10.0.0.1:5123"] {
        let call = json!({"holder": holder, "keys": ["a"], "group": "g"});
        assert_eq!(server.post(ADVERTISE, &call).await.0, 201);
    }
    for host in ["10.0.0.2", "2001:db8::2"] {
        let both = ["10.0.0.1:5123", "[2001:db8::1]:5123"];
        assert_eq!(server.holders("a", host).await, both);
    }
}

async fn it_is_healthy(engine: Engine) {
    let (server, _database) = engine.fresh().await;
    assert_eq!(
        server.get("/healthz").await,
        (200, json!({"message": "ok"}))
    );
    server.stop().await;
}
