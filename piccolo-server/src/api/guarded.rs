//! Lets operators look, and other instances that ask for one.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use daemon::tls::{Gate, Shown};

use crate::{
    api::{Api, passing::Caller, reply, speaker::Speaker},
    instances::Instances,
};

/// For calls of the API.
pub(super) async fn operators(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Response {
    let has_passed = Instances::is_passed_on(api.instances.as_deref(), request.headers());
    let refused = if has_passed.is_ok_and(|has| has) {
        // It let an operator pass.
        Caller::of(&api, &request).err().map(|error| error.reply())
    } else {
        refusal(&api.gate, &request)
    };
    match refused {
        None => next.run(request).await,
        Some(refused) => refused,
    }
}

/// For the admin listener.
pub(crate) async fn readers(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match refusal(&gate, &request) {
        None => next.run(request).await,
        Some(refused) => refused,
    }
}

/// The reply to a call that is not let through.
fn refusal(gate: &Gate, request: &Request) -> Option<Response> {
    let shown = Speaker::of(request).map_or(Shown::Plain, |speaker| speaker.shown);
    let error = gate.admit(&shown, request.headers()).err()?;
    Some(reply::failed(error.status(), error.to_string()))
}
