//! The listeners of the mirror and for peers: accepting connections, and serving each.

mod session;

pub(crate) use daemon::serve::accept::Accepted;

pub(crate) use self::session::{Client, Limits, Refused, Service, serve};

use daemon::{
    scope::Scope,
    serve::{accept, addresses::Grouping, places::Places},
};
use tokio::net::TcpListener;

use crate::sockets;

/// Connections beyond the regular ones, which are told that the listener is busy.
const SPARE: usize = 64;

/// The bounds of a listener's connections.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    /// At once.
    pub(crate) most: usize,
    /// Of one address at once.
    pub(crate) per_address: usize,
    /// Which addresses count as one.
    pub(crate) grouping: Grouping,
}

/// Accepts connections until the scope drains, within `bounds`. A further one takes the place of one that waits for a request, or one of a few spare
/// places. `refused` is told of each that finds no place.
pub(crate) async fn accept_all<F>(
    listener: &TcpListener,
    bounds: Bounds,
    scope: &Scope,
    refused: impl Fn(),
    mut begin: impl FnMut(Accepted) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Places::with(bounds.most, SPARE, bounds.per_address, bounds.grouping);
    accept::accept_all(listener, &places, scope, refused, |accepted| {
        sockets::prepare(&accepted.stream);
        begin(accepted)
    })
    .await;
}
