//! Answers while the databases could not be opened yet.

use std::sync::{Arc, OnceLock};

use axum::{Router, extract::Request, response::Response, routing::get};
use http::StatusCode;
use piccolo_api::path;
use tower::ServiceExt as _;

use crate::api::{health, measured, reply};

/// A router that passes calls on to another one as soon as there is one, and answers 503 with
/// `Retry-After` until then.
pub(crate) fn late(router: Arc<OnceLock<Router>>) -> Router {
    let call = move |request: Request| {
        let router = router.get().cloned();
        async move {
            match router {
                Some(router) => infallible(router.oneshot(request).await),
                None => not_yet(&request),
            }
        }
    };
    Router::new()
        .route(path::HEALTH, get(health::handle))
        .fallback(call)
}

fn infallible(answer: Result<Response, std::convert::Infallible>) -> Response {
    match answer {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn not_yet(request: &Request) -> Response {
    measured::too_early(request.uri().path());
    let message = "the server starts, and its database is not there yet".to_owned();
    reply::refused(StatusCode::SERVICE_UNAVAILABLE, message)
}
