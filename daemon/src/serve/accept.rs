//! Accepting the connections of a listener.

use std::{net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpStream};
use tracing::{Span, warn};

use super::places::{ConnectionPlace, Full, Places};
use crate::{scope::Scope, spell::Spell};

/// A connection, and its place among the bounded number of them.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// The client's address.
    pub remote: SocketAddr,
    /// To be dropped after the stream.
    pub place: ConnectionPlace,
}

/// How long to wait when the process is out of descriptors.
const RETRY: Duration = Duration::from_millis(50);

/// Accepts connections until the scope drains, and has each served by what `begin` makes of it. One for
/// which there is no place is closed, and `refused` called.
pub async fn accept_all<F>(
    listener: &TcpListener,
    places: &Places,
    scope: &Scope,
    refused: impl Fn(),
    mut begin: impl FnMut(Accepted) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let failing = Spell::new("connections are accepted again");
    let crowded = Spell::new("no address has too many connections any more");
    let full = Spell::new("there is room for connections again");
    while let Some((stream, remote)) = accept(listener, scope, &failing).await {
        let why = match places.take(remote.ip()).await {
            Ok(place) => {
                crowded.is_well();
                full.is_well();
                let accepted = Accepted {
                    stream,
                    remote,
                    place,
                };
                scope.task(Span::none(), begin(accepted));
                continue;
            }
            Err(why) => why,
        };
        refused();
        let most = places.most(why);
        match why {
            Full::Address => crowded.happened(|times| {
                warn!(peer = %remote, most, times, "connections are closed: their address has too many already");
            }),
            Full::All => full.happened(|times| {
                warn!(peer = %remote, most, times, "connections are closed: all others are being answered");
            }),
        }
    }
}

/// The next connection, or `None` once the scope drains.
async fn accept(
    listener: &TcpListener,
    scope: &Scope,
    failing: &Spell,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            () = scope.draining() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                failing.is_well();
                // A listener for both families sees IPv4 addresses inside of IPv6 ones.
                let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                return Some((stream, remote));
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
