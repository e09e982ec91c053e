//! The listeners of the mirror and for peers: accepting connections, and serving each.

mod session;

pub(crate) use self::session::{Client, Limits, Refused, Service, serve};

use std::net::SocketAddr;

use daemon::{
    scope::Scope,
    serve::{
        accept,
        places::{Full, Place, Places},
    },
    spell::Spell,
};
use tokio::net::{TcpListener, TcpStream};
use tracing::{Span, warn};

use crate::sockets;

/// A connection, and its place among the bounded number of them.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) remote: SocketAddr,
    pub(crate) place: Place,
}

/// Connections beyond the regular ones, which are told that the listener is busy.
const SPARE: usize = 64;

/// Accepts connections until the scope drains, at most `most` at once and `per_address` of each
/// address. A further one takes the place of one that waits for a request, or one of a few spare
/// places. `refused` is told of each that finds no place.
pub(crate) async fn accept_all<F>(
    listener: &TcpListener,
    (most, per_address): (usize, usize),
    scope: &Scope,
    refused: impl Fn(),
    mut begin: impl FnMut(Accepted) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Places::new(most, SPARE, per_address);
    let failing = Spell::new("connections are accepted again");
    let full = Spell::new("there is room for connections again");
    while let Some((stream, remote)) = accept(listener, scope, &failing).await {
        sockets::prepare(&stream);
        match places.take(remote.ip()).await {
            Ok(place) => {
                full.is_well();
                let accepted = Accepted {
                    stream,
                    remote,
                    place,
                };
                scope.task(Span::none(), begin(accepted));
            }
            Err(why) => {
                refused();
                full.happened(|times| {
                    let of = match why {
                        Full::Address => "its address has too many",
                        Full::All => "all others are being answered",
                    };
                    warn!(%remote, times, "a connection is closed: {of}");
                });
            }
        }
    }
}
