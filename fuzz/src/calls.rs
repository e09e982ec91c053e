//! The server's calls and their queries, to a server in this process: each is answered in JSON, none fails the
//! server, and a query is read as the Go server reads it.

mod server;

use std::sync::LazyLock;

use hyper::Uri;
use parking_lot::Mutex;

use self::server::{Reply, Server};
use crate::{
    input::Input,
    model::{go::Json, percent},
};

static SERVER: LazyLock<Mutex<Server>> = LazyLock::new(|| Mutex::new(Server::start()));

const POSTS: [&str; 6] = [
    piccolo_api::path::ADVERTISE,
    piccolo_api::path::SYNC,
    piccolo_api::path::FIND,
    piccolo_api::path::PROGRESS,
    piccolo_api::path::KEEPALIVE,
    piccolo_api::path::LEAVE,
];
const GETS: [&str; 7] = [
    piccolo_api::path::FIND_KEY,
    piccolo_api::path::EXPLAIN,
    piccolo_api::path::SWARM,
    piccolo_api::path::TOPOLOGY,
    piccolo_api::path::LOCATE,
    piccolo_api::path::SUGGEST,
    piccolo_api::path::BANDWIDTH,
];
/// Each call is taken, wrong, about nothing, too large, or too much for its caller.
const STATUSES: [u16; 6] = [200, 201, 400, 404, 413, 429];

pub(crate) fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 3 {
        0 => post(input.one(&POSTS), input.rest()),
        1 => get(input.one(&GETS), &input.text()),
        _ => find_key(input),
    }
}

fn post(path: &str, body: &[u8]) {
    let reply = SERVER.lock().post(path, body);
    understood(&reply, path);
    let json = Json::parse(body);
    if matches!(
        json,
        Ok(Json::Null | Json::Bool | Json::Number(_) | Json::Text(_) | Json::List(_))
    ) {
        assert_eq!(reply.status, 400, "{path}: no object is taken");
    }
    if reply.status < 300 && path != piccolo_api::path::FIND && path != piccolo_api::path::PROGRESS
    {
        let told: piccolo_api::Ack = serde_json::from_str(&reply.body).expect("an acknowledgement");
        assert!(told.success || told.resync, "{path}: {told:?}");
    }
}

/// Any text as a query, as far as it can stand in a request line.
fn get(path: &str, query: &str) {
    let target = format!("{path}?{query}");
    let is_plain = target.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_plain || target.parse::<Uri>().is_err() {
        return;
    }
    let reply = SERVER.lock().get(&target);
    understood(&reply, path);
}

fn understood(reply: &Reply, path: &str) {
    assert!(
        STATUSES.contains(&reply.status),
        "{path}: {} {}",
        reply.status,
        reply.body
    );
    let json = serde_json::from_str::<serde_json::Value>(&reply.body);
    let is_file = reply.status == 200 && [piccolo_api::path::SUGGEST].contains(&path);
    assert!(
        is_file || json.is_ok_and(|json| json.is_object() || json.is_array()),
        "{path}: {}",
        reply.body
    );
}

/// A query with these members in any order, some twice: the first counts.
fn find_key(mut input: Input<'_>) {
    let mut members: Vec<(&str, String)> = Vec::new();
    while !input.is_empty() && members.len() < 8 {
        let name = input.one(&["key", "group", "count", "request_host", "Key", "other"]);
        let length = usize::from(input.byte() % 40);
        let value = match (name, input.byte() % 4) {
            ("count", 0..3) => i64::from_be_bytes(input.wide().to_be_bytes()).to_string(),
            ("request_host", 0..2) => input
                .one(&["10.0.0.1", "fd00::1", "::ffff:10.0.0.1", ""])
                .to_owned(),
            (_, 0) => "a".repeat(length * 8),
            _ => String::from_utf8_lossy(input.take(length)).into_owned(),
        };
        members.push((name, value));
    }
    let query: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("{name}={}", percent::encode(value)))
        .collect();
    let path = format!("{}?{}", piccolo_api::path::FIND_KEY, query.join("&"));
    let reply = SERVER.lock().get(&path);
    understood(&reply, piccolo_api::path::FIND_KEY);
    let first = |wanted: &str| {
        let found = members.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    let is_name = |name: Option<&str>, most: usize| {
        name.is_some_and(|name| {
            !name.is_empty() && name.len() <= most && !name.contains(char::is_control)
        })
    };
    let is_blank_or = |value: Option<&str>, fits: &dyn Fn(&str) -> bool| {
        value.is_none_or(|value| value.is_empty() || fits(value))
    };
    let is_good = is_name(first("key"), 255)
        && is_name(first("group"), 64)
        && is_blank_or(first("count"), &|value| value.parse::<i64>().is_ok())
        && is_blank_or(first("request_host"), &|value| {
            value.parse::<std::net::IpAddr>().is_ok()
        });
    assert_eq!(
        reply.status != 400,
        is_good,
        "{path}: {} {}",
        reply.status,
        reply.body
    );
}
