//! Serving an axum router with the bounds that a listener on a real network needs.

pub mod addresses;
mod patient;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::ServiceExt as _;
use tracing::{Span, debug, warn};

pub use self::addresses::network;
use self::{
    addresses::{Addresses, ConnectionSlot},
    patient::Patient,
};
use crate::{scope::Scope, spell::Spell};

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// From the opening of a connection, or the end of a reply, to the end of the next request's
    /// head. Ends half-open and idle connections.
    pub head: Duration,
    /// How long a client may read nothing while a reply waits for it.
    pub stall: Duration,
    /// Connections of one address at once; further ones are closed. Of IPv6, a network of 64 bits
    /// counts as one address.
    pub per_address: usize,
    /// Is told of each connection that a bound ended.
    pub dropped: fn(Dropped),
}

/// Which bound ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// [`Limits::per_address`].
    TooMany,
    /// [`Limits::stall`].
    Stalled,
}

/// An extension of each request: how many connections its listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open(pub usize);

/// What a connection takes of the listener's bounds.
#[derive(Debug)]
struct Taken {
    _slot: OwnedSemaphorePermit,
    _place: ConnectionSlot,
    /// One clone for each connection, and the listener's own while it takes connections.
    open: Arc<()>,
}

/// The kernel's send buffer of a connection, in bytes; half of it is bookkeeping. A slow client
/// shows progress whenever it has read about a third of this.
const SEND_BUFFER: usize = 64 << 10;
/// Bytes of a request's head; a longer one is answered 431.
const HEAD: usize = 16 << 10;

/// Serves `router` until the scope drains; then connections finish their request and close.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, scope: Scope) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let addresses = Addresses::default();
    let open = Arc::new(());
    // Connections inherit the size from their listener.
    if let Err(error) = set_socket_send_buffer_size(&listener, SEND_BUFFER) {
        warn!(%error, "slow clients may be taken for dead");
    }
    let crowded = Spell::new("no address has too many connections any more");
    let failing = Spell::new("connections are accepted again");
    loop {
        let next = accept(&listener, &slots, &scope, &failing).await;
        let Some((stream, peer, slot)) = next else {
            return;
        };
        let Some(place) = addresses.take(peer.ip(), limits.per_address) else {
            (limits.dropped)(Dropped::TooMany);
            let most = limits.per_address;
            crowded.happened(|times| {
                warn!(%peer, most, times, "connections are closed: their address has too many already");
            });
            continue;
        };
        crowded.is_well();
        let taken = Taken {
            _slot: slot,
            _place: place,
            open: Arc::clone(&open),
        };
        let connection = connection(stream, peer, router.clone(), limits, scope.clone(), taken);
        scope.task(Span::none(), connection);
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    scope: &Scope,
    failing: &Spell,
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
            Ok((stream, peer)) => {
                failing.is_well();
                return Some((stream, peer, slot));
            }
            Err(error) => {
                // Out of descriptors, mostly: the listener still works once some are closed.
                failing.happened(|times| {
                    warn!(%error, times, "connections cannot be accepted");
                });
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
    taken: Taken,
) {
    // Replies are small; waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let open = Arc::downgrade(&taken.open);
    let service = router.map_request(move |request: http::Request<hyper::body::Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(peer));
        extensions.insert(Open(open.strong_count().saturating_sub(1)));
        request
    });
    let stream = Patient::new(stream, limits);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(HEAD)
        // A connection keeps its read buffer, which would grow with the longest body.
        .max_buf_size(HEAD)
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
    drop(taken);
}
