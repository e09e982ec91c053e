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
    serve::{Dropped, Limits, Open},
};
use http::{HeaderValue, header};
use metrics::counter;

const DROPPED: &str = "piccolo_server_connections_dropped_total";

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[Metric::counter(
    DROPPED,
    &[(
        "reason",
        "`per_address` (its address had `--connections-per-address` already), `stalled` (it took \
         nothing of its reply for ten seconds)",
    )],
    "Connections of agents that the server ended, or did not take.",
)];

/// With more connections than this an agent that has told what it had to is not kept.
///
/// A connection takes some 25 KB, and most are opened for a sign of life alone: kept until they are
/// found idle, those of 50,000 agents are 7,000 at any time.
const MANY: usize = 512;

/// Has `handler` end the connection of a call with its answer where there are many. Whoever failed,
/// mostly because a database is away, comes again at once and is kept.
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

/// The bounds of the listener that agents call.
pub(crate) fn limits(per_address: usize) -> Limits {
    Limits {
        connections: 65_536,
        // An agent opens a new connection more cheaply than tens of thousands are kept: each takes
        // some 25 KB.
        head: Duration::from_secs(4),
        stall: Duration::from_secs(10),
        per_address,
        dropped: count,
    }
}

fn count(dropped: Dropped) {
    let reason = match dropped {
        Dropped::TooMany => "per_address",
        Dropped::Stalled => "stalled",
    };
    counter!(DROPPED, "reason" => reason).increment(1);
}
