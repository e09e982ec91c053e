//! Calls for operators, which go through all nodes or all racks: a few at a time, so that a flood of
//! them leaves the processors to the agents.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::MethodRouter,
};
use http::StatusCode;
use tokio::sync::Semaphore;

use crate::api::reply;

/// Calls of one kind in progress at a time; the others wait.
const AT_ONCE: usize = 2;

/// Limits `handler` to a few calls at a time.
pub(super) fn few<S>(handler: MethodRouter<S>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    handler.layer(from_fn_with_state(turns, wait))
}

async fn wait(State(turns): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match turns.acquire().await {
        Ok(_turn) => next.run(request).await,
        // No code closes it.
        Err(error) => reply::failed(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
