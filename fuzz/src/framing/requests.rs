//! Requests, to the listener for peers.

use std::{convert::Infallible, sync::Arc, sync::LazyLock};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Method, Response, StatusCode, Uri, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use pi_agent::http::Target;
use tokio::io::AsyncWriteExt as _;

use crate::stand::{Agent, caller, exchange, parts};

static AGENT: LazyLock<Mutex<Agent>> = LazyLock::new(|| Mutex::new(Agent::start()));

/// Longest head; hyper's bound is another one.
const LONGEST: usize = 16 << 10;
/// As many fields are taken of a head.
const FIELDS: usize = 64;

/// A request as hyper reads it.
#[derive(Debug)]
struct Seen {
    method: Method,
    uri: Uri,
    is_chunked: bool,
    has_body: bool,
}

/// How a stream ends to hyper.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// As it may.
    Good,
    /// With what is no request.
    Refused,
}

pub(super) fn check(cuts: &[u8], bytes: &[u8]) {
    // hyper leaves out what is behind a `#` in a target, where no client sends one.
    if bytes.len() > LONGEST || bytes.contains(&b'#') {
        return;
    }
    let agent = AGENT.lock();
    let (seen, end) = agent.runtime.block_on(by_hyper(bytes));
    let parts = parts(bytes, cuts);
    let replies = exchange(caller(), agent.addr, &parts);
    let replies = agent.runtime.block_on(replies);
    drop(agent);
    let replies = String::from_utf8_lossy(&replies);
    let statuses: Vec<&str> = replies
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|reply| &reply[..3])
        .collect();
    let mut expected: Vec<&str> = Vec::new();
    let mut is_open = true;
    for request in &seen {
        if request.is_chunked {
            expected.push("400");
        } else {
            expected.push(status(request));
        }
        is_open = !(request.is_chunked || request.has_body);
        if !is_open {
            break;
        }
    }
    if is_open && end == End::Refused {
        let at = expected.len();
        // A target that is no URI names nothing, whatever follows, but for that of a ping: its query counts not.
        let is_fit =
            |status| matches!(status, "404" | "405") || (status == "200" && has_odd_ping(bytes));
        if statuses.len() > at && is_fit(statuses[at]) && has_odd_target(bytes) {
            assert_eq!(statuses[..at], expected);
            return;
        }
        expected.push("400");
    }
    assert_eq!(
        statuses,
        expected,
        "{seen:?} {end:?} of {:?}",
        String::from_utf8_lossy(bytes)
    );
}

/// What a request gets from an agent without content.
fn status(request: &Seen) -> &'static str {
    let is_pull = matches!(request.method, Method::GET | Method::HEAD);
    match Target::parse(&request.uri.to_string()) {
        _ if !is_pull => "405",
        Target::Ping => "200",
        Target::Object(_) | Target::Rack(_) | Target::Other => "404",
    }
}

/// Whether there is a request line whose target is no URI.
fn has_odd_target(bytes: &[u8]) -> bool {
    let lines = bytes.split(|byte| *byte == b'\n');
    let mut targets = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(1));
    targets.any(|target| Uri::try_from(target).is_err())
}

/// Whether one of them is that of a ping with a query.
fn has_odd_ping(bytes: &[u8]) -> bool {
    let pings: [&[u8]; 2] = [b" /v2/?", b" /v2?"];
    (pings.iter()).any(|ping| bytes.windows(ping.len()).any(|at| at == *ping))
}

/// The requests that hyper reads from a stream.
async fn by_hyper(bytes: &[u8]) -> (Vec<Seen>, End) {
    let (mut client, server) = tokio::io::duplex(bytes.len() + (64 << 10));
    client.write_all(bytes).await.expect("there is room");
    client.shutdown().await.expect("it ends");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            seen.lock().push(Seen {
                is_chunked: head.headers.contains_key(header::TRANSFER_ENCODING),
                has_body: !hyper::body::Body::is_end_stream(&body),
                method: head.method,
                uri: head.uri,
            });
            let _ = body.collect().await;
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder.half_close(true).max_headers(FIELDS);
    let served = builder
        .serve_connection(TokioIo::new(server), service)
        .await;
    let end = match served {
        Err(error) if error.is_parse() || error.is_parse_too_large() => End::Refused,
        Err(_) | Ok(()) => End::Good,
    };
    drop(client);
    let seen = std::mem::take(&mut *seen.lock());
    (seen, end)
}
