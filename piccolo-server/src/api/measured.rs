//! Counts and times the calls of one route.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::MethodRouter,
};
use daemon::metric::{Label, Metric};
use http::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};
use piccolo_api::path;

use crate::api::unknown;

const REQUESTS: &str = "piccolo_server_requests_total";
const SECONDS: &str = "piccolo_server_request_seconds";

const ROUTE: Label = (
    "route",
    "`find`, `findkey`, `advertise`, `sync`, `progress`, `tag`, `keepalive`, `leave`",
);

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[
    Metric::counter(
        REQUESTS,
        &[ROUTE, ("status", "the HTTP status, or `other`")],
        "Calls that were answered.",
    ),
    Metric::histogram(
        SECONDS,
        &[ROUTE],
        "Latency of calls, from the head of the request to the reply.",
    ),
];

/// The statuses that calls are answered with.
const STATUSES: [(StatusCode, &str); 11] = [
    (StatusCode::OK, "200"),
    (StatusCode::CREATED, "201"),
    (StatusCode::BAD_REQUEST, "400"),
    (StatusCode::FORBIDDEN, "403"),
    (StatusCode::NOT_FOUND, "404"),
    (StatusCode::METHOD_NOT_ALLOWED, "405"),
    (StatusCode::REQUEST_TIMEOUT, "408"),
    (StatusCode::PAYLOAD_TOO_LARGE, "413"),
    (StatusCode::INTERNAL_SERVER_ERROR, "500"),
    (StatusCode::SERVICE_UNAVAILABLE, "503"),
    (StatusCode::IM_A_TEAPOT, "other"),
];

/// The calls that are counted.
const ROUTES: [(&str, &str); 6] = [
    (path::ADVERTISE, "advertise"),
    (path::SYNC, "sync"),
    (path::FIND_KEY, "findkey"),
    (path::FIND, "find"),
    (path::KEEPALIVE, "keepalive"),
    (path::LEAVE, "leave"),
];

/// Counts a call that arrived before the databases were open.
pub(super) fn too_early(path: &str) {
    if let Some((_, route)) = ROUTES.iter().find(|(known, _)| *known == path) {
        counter!(REQUESTS, "route" => *route, "status" => "503").increment(1);
    }
}

/// Handles of the counters and the histogram.
struct Meters {
    seconds: Histogram,
    statuses: [Counter; STATUSES.len()],
}

/// Counts what `handler` answers as `route`.
pub(super) fn measured<S>(route: &'static str, handler: MethodRouter<S>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let meters = Meters {
        seconds: histogram!(SECONDS, "route" => route),
        statuses: STATUSES
            .map(|(_, status)| counter!(REQUESTS, "route" => route, "status" => status)),
    };
    let handler = handler.fallback(unknown::method);
    handler.layer(from_fn_with_state(Arc::new(meters), measure))
}

async fn measure(State(meters): State<Arc<Meters>>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let response = next.run(request).await;
    meters.seconds.record(begin.elapsed());
    let known = STATUSES
        .iter()
        .position(|(status, _)| *status == response.status());
    let index = known.unwrap_or(STATUSES.len() - 1);
    if let Some(counter) = meters.statuses.get(index) {
        counter.increment(1);
    }
    response
}
