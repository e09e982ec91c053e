//! Requests as bytes.

use crate::{Dataset, numbers::index};

/// Requests to be sent in turns, or made one by one.
#[derive(Debug)]
pub(crate) enum Requests {
    /// Made beforehand; after the last comes the first.
    Pool { all: Vec<Vec<u8>>, next: usize },
    /// Advertisements of keys that nobody has yet, by these nodes in turns.
    New {
        nodes: Vec<u32>,
        next: usize,
        number: u64,
    },
}

/// Keys of one advertisement.
pub(super) const ADVERTISED: u32 = 10;

impl Requests {
    /// Writes the next one.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Pool { all, next } => {
                out.extend_from_slice(all.get(*next).map(Vec::as_slice).unwrap_or_default());
                *next = if *next + 1 < all.len() { *next + 1 } else { 0 };
            }
            Self::New {
                nodes,
                next,
                number,
            } => {
                let node = nodes.get(*next).copied().unwrap_or_default();
                *next = if *next + 1 < nodes.len() {
                    *next + 1
                } else {
                    0
                };
                let keys: Vec<_> = (*number..)
                    .take(index(ADVERTISED))
                    .map(Dataset::key)
                    .collect();
                *number += u64::from(ADVERTISED);
                let path = "/api/v1/distribution/advertise";
                out.extend_from_slice(&post(path, &advertisement(node, &keys)));
            }
        }
    }
}

/// A GET without a body.
pub(crate) fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: server\r\n\r\n").into_bytes()
}

/// A POST of JSON.
pub(crate) fn post(path: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The body of an advertise and of a sync.
pub(super) fn advertisement(node: u32, keys: &[String]) -> serde_json::Value {
    let holder = Dataset::holder(node);
    serde_json::json!({"holder": holder, "keys": keys, "group": Dataset::GROUP})
}
