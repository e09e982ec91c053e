//! Bounds of the connections that agents open, and what they ended.

use std::time::Duration;

use axum::{
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::MethodRouter,
};
use daemon::{
    metric::Metric,
    serve::{self, Dropped, Limits, Open},
    tls::Mode,
};
use http::{HeaderValue, header};
use metrics::counter;

const DROPPED: &str = "piccolo_server_connections_dropped_total";

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[Metric::counter(
    DROPPED,
    &[(
        "reason",
        "`per_address` (its address had `--connections-per-address` already, or as many as were free or idle, or all were busy), `stalled` (it took \
         nothing of its reply for ten seconds), `evicted` (it waited for a request while another \
         connection needed its place)",
    )],
    "Connections of agents that the server closed or refused.",
)];

/// With more connections than this, a reply closes its connection.
///
/// A connection takes some 25 KB, and most are opened for a keepalive alone: if they were kept
/// until the idle timeout, 50,000 agents would have 7,000 open at any time.
const MANY: usize = 512;

/// Makes `handler` close the connection after its reply while there are many. The connection of a
/// failed call is kept: its agent tries again at once.
pub(crate) fn few<S>(handler: MethodRouter<S>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    handler.layer(from_fn(let_go))
}

async fn let_go(request: Request, next: Next) -> Response {
    let open = request.extensions().get::<Open>();
    let are_many = open.is_some_and(|Open(connections)| *connections > MANY);
    let mut reply = next.run(request).await;
    if are_many && reply.status().is_success() {
        let close = HeaderValue::from_static("close");
        reply.headers_mut().insert(header::CONNECTION, close);
    }
    reply
}

/// What a connection takes at most, in bytes: the buffers for a request's head and for its reply, the
/// bookkeeping of both, and a share of what the allocator keeps.
const OF_ONE: u64 = 32 << 10;
/// The same where a connection may begin with a TLS handshake, of which 64 KiB are kept before it is known
/// whose it is.
const OF_ONE_WITH_TLS: u64 = 96 << 10;
/// Connections of one address at once, where nothing is set.
pub(crate) const PER_ADDRESS: usize = 4096;
/// Connections at once, with little memory and with much.
const LEAST: u64 = 1024;
const MOST: u64 = 65_536;

/// The bounds of the listener that agents call. Connections get half of the `memory` in bytes that there
/// is, so that a flood of them does not have the process killed.
pub(crate) fn limits(per_address: usize, memory: Option<u64>, mode: Mode) -> Limits {
    let of_one = match mode {
        Mode::Off => OF_ONE,
        Mode::Permissive | Mode::Required => OF_ONE_WITH_TLS,
    };
    let connections = memory.map_or(MOST, |memory| (memory / 2 / of_one).clamp(LEAST, MOST));
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    // Who raises the bound has most agents behind one address. The default leaves room for others.
    let per_address = if per_address > PER_ADDRESS {
        per_address
    } else {
        per_address.min(connections / 2)
    };
    Limits {
        connections,
        // A new connection is cheaper than tens of thousands of idle ones: each takes some 25 KB.
        head: Duration::from_secs(4),
        stall: Duration::from_secs(10),
        per_address,
        counts_as: serve::network,
        dropped: count,
    }
}

fn count(dropped: Dropped) {
    let reason = match dropped {
        Dropped::TooMany => "per_address",
        Dropped::Stalled => "stalled",
        Dropped::Evicted => "evicted",
    };
    counter!(DROPPED, "reason" => reason).increment(1);
}
