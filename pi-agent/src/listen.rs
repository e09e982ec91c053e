//! The listeners of the mirror and for peers: accepting connections, and serving each.

mod session;

pub(crate) use self::session::{Limits, Refused, Service, serve};

use std::{net::SocketAddr, sync::Arc, time::Duration};

use daemon::{scope::Scope, spell::Spell};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tracing::{Span, warn};

/// A connection, and its place among the bounded number of them.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) remote: SocketAddr,
    pub(crate) place: OwnedSemaphorePermit,
}

/// How long to wait when the process is out of descriptors.
const RETRY: Duration = Duration::from_millis(50);
/// How long sent bytes may stay without acknowledgement before the kernel gives a connection up,
/// in milliseconds. Half-open connections end by it.
const USER_TIMEOUT: u32 = 20_000;

/// Accepts connections until the scope drains, at most `most` at once; further ones wait in the
/// kernel's queue. `begin` gives what serves a connection, or `None` to close it.
pub(crate) async fn accept_all<F>(
    listener: &TcpListener,
    most: usize,
    scope: &Scope,
    mut begin: impl FnMut(Accepted) -> Option<F>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    let failing = Spell::new("connections are accepted again");
    while let Some(accepted) = accept(listener, &places, scope, &failing).await {
        if let Some(serving) = begin(accepted) {
            scope.task(Span::none(), serving);
        }
    }
}

/// The next connection, or `None` once the scope drains.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    scope: &Scope,
    failing: &Spell,
) -> Option<Accepted> {
    loop {
        let next = async {
            let place = Arc::clone(places).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let (accepted, place) = tokio::select! {
            () = scope.draining() => return None,
            next = next => next?,
        };
        match accepted {
            Ok((stream, remote)) => {
                failing.is_well();
                prepare(&stream);
                return Some(Accepted {
                    stream,
                    remote,
                    place,
                });
            }
            Err(error) => {
                // Out of descriptors, mostly: the listener still works once some are closed.
                failing.happened(|times| {
                    warn!(%error, times, "connections cannot be accepted");
                });
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Sets the socket options that every connection needs. A socket on which that fails will fail its
/// next read or write too.
pub(crate) fn prepare(stream: &TcpStream) {
    // Bodies are sent in large pieces; waiting to fill a segment would only delay their ends.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT);
    let _ = rustix::net::sockopt::set_socket_keepalive(stream, true);
}
