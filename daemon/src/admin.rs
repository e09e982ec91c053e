//! The admin endpoints that both processes have: `/healthz`, `/readyz` and `/metrics`.

use std::time::Duration;

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{
    readiness::Readiness,
    serve::{self, Limits},
};

/// The bounds of a listener for probes and Prometheus.
pub const LIMITS: Limits = Limits {
    connections: 64,
    head: Duration::from_secs(30),
    stall: Duration::from_secs(30),
    // No bound: idle connections make room for a probe, also for one of the same address.
    per_address: usize::MAX,
    counts_as: serve::network,
    dropped: |_| {},
};

/// All of them, to which the process adds its own.
pub fn router(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    probes(readiness).merge(self::metrics(metrics))
}

/// `/healthz` and `/readyz`.
pub fn probes(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(ready).with_state(readiness))
}

/// `/metrics`.
pub fn metrics(metrics: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(scrape).with_state(metrics))
}

async fn health() -> &'static str {
    "ok\n"
}

async fn ready(State(readiness): State<Readiness>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let ready = readiness.is_ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let verbose = query.is_some_and(|q| q.split('&').any(|p| p == "verbose" || p == "verbose=1"));
    let verdict = if ready { "ready\n" } else { "not ready\n" };
    // A 503 always names its reason, so that no second request is needed.
    let body = if verbose || !ready {
        readiness.verbose() + verdict
    } else {
        verdict.to_owned()
    };
    (status, body)
}

async fn scrape(State(metrics): State<PrometheusHandle>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        metrics.render(),
    )
}
