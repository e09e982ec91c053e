//! Who may read metrics and status.

use std::net::SocketAddr;

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use daemon::tls::{Gate, Shown};

/// Lets through who is on this host, and of others whom the gate does.
pub(super) async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let from: Option<&ConnectInfo<SocketAddr>> = extensions.get();
    let is_here = from.is_some_and(|from| from.0.ip().to_canonical().is_loopback());
    let shown = extensions.get().unwrap_or(&Shown::Plain);
    if !is_here && let Err(error) = gate.admit(shown, request.headers()) {
        return (error.status(), format!("{error}\n")).into_response();
    }
    next.run(request).await
}
