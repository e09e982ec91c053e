//! Calls of the server's API as bytes.

use serde_json::{Value, json};

use crate::Dataset;

const DISTRIBUTION: &str = "/api/v1/distribution";

/// Which change of which of an agent's lives a set is at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version {
    pub(crate) epoch: u64,
    pub(crate) seq: u32,
}

/// Who has a key; asked by a node.
pub(crate) fn find(key: u64, count: u32, node: u32) -> Vec<u8> {
    let (key, host) = (hex::encode(Dataset::digest(key)), Dataset::address(node));
    let group = Dataset::GROUP;
    format!(
        "GET {DISTRIBUTION}/findkey?count={count}&group={group}&key=sha256%3A{key}\
         &request_host={host} HTTP/1.1\r\nHost: server\r\n\r\n"
    )
    .into_bytes()
}

/// Who has each of several keys.
pub(crate) fn find_many(keys: &[u64], count: u32, node: u32) -> Vec<u8> {
    let body = json!({
        "keys": texts(keys),
        "group": Dataset::GROUP,
        "count": count,
        "request_host": Dataset::address(node),
    });
    post(&format!("{DISTRIBUTION}/find"), body)
}

/// A keepalive, with the version of the set if the agent keeps one.
pub(crate) fn keepalive(node: u32, version: Option<Version>) -> Vec<u8> {
    let body = json!({"host": Dataset::holder(node), "Group": Dataset::GROUP});
    post("/api/v1/keepalive", versioned(body, version))
}

/// Further keys.
pub(crate) fn advertise(node: u32, keys: &[u64], version: Option<Version>) -> Vec<u8> {
    post(
        &format!("{DISTRIBUTION}/advertise"),
        versioned(set(node, keys), version),
    )
}

/// The whole set.
pub(crate) fn sync(node: u32, keys: &[u64], version: Option<Version>) -> Vec<u8> {
    post(
        &format!("{DISTRIBUTION}/sync"),
        versioned(set(node, keys), version),
    )
}

fn set(node: u32, keys: &[u64]) -> Value {
    json!({"holder": Dataset::holder(node), "keys": texts(keys), "group": Dataset::GROUP})
}

fn versioned(mut body: Value, version: Option<Version>) -> Value {
    if let (Some(body), Some(Version { epoch, seq })) = (body.as_object_mut(), version) {
        body.insert("epoch".to_owned(), epoch.into());
        body.insert("seq".to_owned(), seq.into());
    }
    body
}

fn texts(keys: &[u64]) -> Vec<String> {
    keys.iter().copied().map(Dataset::key).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "it is written and done with")]
pub(crate) fn post(path: &str, body: Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
