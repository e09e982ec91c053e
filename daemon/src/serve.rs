//! Serving an axum router with the bounds that a listener on a real network needs.

pub mod accept;
pub mod addresses;
pub mod bind;
mod patient;
pub mod places;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::net::TcpListener;
use tower::ServiceExt as _;
use tracing::{debug, warn};

pub use self::addresses::{host, network};
use self::{
    accept::{Accepted, accept_all},
    addresses::Grouping,
    patient::Patient,
    places::Places,
};
#[cfg(doc)]
use crate::tls::Shown;
use crate::{scope::Scope, tls::Tls};

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once. A further one takes the place of one that waits for a request; it is
    /// closed where none does.
    pub connections: usize,
    /// Deadline from the start of a connection, or the end of a reply, to the end of the next request's
    /// head. Ends half-open and idle connections.
    pub head: Duration,
    /// How long a client may read nothing while a reply waits for it.
    pub stall: Duration,
    /// Connections of one address at once; further ones are closed.
    pub per_address: usize,
    /// What counts as one address: [`network`] or [`host`].
    pub counts_as: fn(IpAddr) -> IpAddr,
    /// Called for each connection that a bound ended.
    pub dropped: fn(Dropped),
}

/// Which bound ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// [`Limits::per_address`], or [`Limits::connections`] where all are being answered.
    TooMany,
    /// It waited for a request while another connection needed its place.
    Evicted,
    /// [`Limits::stall`].
    Stalled,
}

/// An extension of each request: how many connections its listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open(pub usize);

/// The kernel's send buffer of a connection, in bytes; half of it is bookkeeping. A slow client
/// shows progress whenever it has read about a third of this.
const SEND_BUFFER: usize = 64 << 10;
/// Bytes of a request's head; a longer one is answered 431.
const HEAD: usize = 16 << 10;

/// Serves `router` until the scope drains; then connections finish their request and close. Each request
/// has what its connection has [`Shown`] as an extension; a connection ends when the certificate does.
pub async fn serve(listener: TcpListener, router: Router, tls: Tls, limits: Limits, scope: Scope) {
    let grouping = Grouping::by(limits.counts_as);
    let places = Places::with(limits.connections, 0, limits.per_address, grouping);
    let open = Arc::new(());
    // Connections inherit the size from their listener.
    if let Err(error) = set_socket_send_buffer_size(&listener, SEND_BUFFER) {
        warn!(%error, "slow clients may be taken for dead");
    }
    let refused = || (limits.dropped)(Dropped::TooMany);
    accept_all(&listener, &places, &scope, refused, |accepted| {
        let open = Arc::clone(&open);
        let serving = Serving {
            router: router.clone(),
            tls: tls.clone(),
            limits,
            scope: scope.clone(),
        };
        serving.connection(accepted, open)
    })
    .await;
}

/// What serving a connection takes.
struct Serving {
    router: Router,
    tls: Tls,
    limits: Limits,
    scope: Scope,
}

impl Serving {
    /// Serves one connection. There is one clone of `open` for each, and the listener's own while it takes
    /// connections.
    async fn connection(self, accepted: Accepted, open: Arc<()>) {
        let Self {
            router,
            tls,
            limits,
            scope,
        } = self;
        let Accepted {
            stream,
            remote: peer,
            place,
        } = accepted;
        let place = Arc::new(place);
        // Replies are small; waiting to fill a segment would only delay them.
        let _ = stream.set_nodelay(true);
        let handshake = tls.accept(stream, peer, |stream| Patient::new(stream, limits));
        let taken = tokio::select! {
            taken = handshake => taken,
            () = place.evicted() => {
                (limits.dropped)(Dropped::Evicted);
                return;
            }
            () = scope.draining() => return,
        };
        let Ok((stream, shown)) = taken else { return };
        let lasts = shown.leaf().map(|leaf| tls.left(leaf));
        let opened = Arc::downgrade(&open);
        let (answering, answered) = (Arc::clone(&place), Arc::clone(&place));
        let is_last = Arc::new(AtomicBool::new(false));
        let last = Arc::clone(&is_last);
        let service = router.map_request(move |request: http::Request<hyper::body::Incoming>| {
            // It was told to make room, and this request was there already.
            if !answering.answers() {
                last.store(true, Relaxed);
            }
            let mut request = request.map(axum::body::Body::new);
            let extensions = request.extensions_mut();
            extensions.insert(ConnectInfo(peer));
            extensions.insert(shown.clone());
            extensions.insert(Open(opened.strong_count().saturating_sub(1)));
            request
        });
        // What is left is to write the reply, for which a client that reads slowly may be evicted.
        let service = service.map_response(move |response| {
            answered.waits();
            response
        });
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
            () = place.evicted() => {
                (limits.dropped)(Dropped::Evicted);
                if is_last.load(Relaxed) {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                } else {
                    Ok(())
                }
            }
            () = scope.draining() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = over(lasts) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            debug!(%peer, error = %crate::telemetry::chain(&error), "a connection ended early");
        }
        drop((place, open));
    }
}

/// Ends after that time, if there is one.
async fn over(lasts: Option<Duration>) {
    match lasts {
        Some(lasts) => tokio::time::sleep(lasts).await,
        None => std::future::pending().await,
    }
}
