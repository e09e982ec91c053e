//! Serving an axum router with the bounds that a listener on a real network needs.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::ServiceExt as _;
use tracing::{Span, debug, warn};

use crate::scope::Scope;

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// From the opening of a connection, or the end of a reply, to the end of the next request's
    /// head. Ends half-open and idle connections.
    pub head: Duration,
}

/// Serves `router` until the scope drains; then connections finish their request and close.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, scope: Scope) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Some((stream, peer, slot)) = accept(&listener, &slots, &scope).await else {
            return;
        };
        let connection = connection(stream, peer, router.clone(), limits, scope.clone(), slot);
        scope.task(Span::none(), connection);
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    scope: &Scope,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    loop {
        let next = async {
            let slot = Arc::clone(slots).acquire_owned().await.ok()?;
            Some((listener.accept().await, slot))
        };
        let (accepted, slot) = tokio::select! {
            () = scope.draining() => return None,
            next = next => next?,
        };
        match accepted {
            Ok((stream, peer)) => return Some((stream, peer, slot)),
            Err(error) => {
                // Out of descriptors, mostly: the listener still works once some are closed.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    scope: Scope,
    slot: OwnedSemaphorePermit,
) {
    // Replies are small; waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let service = router.map_request(move |request: http::Request<hyper::body::Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = scope.draining() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%peer, error = %crate::telemetry::chain(&error), "a connection ended early");
    }
    drop(slot);
}
