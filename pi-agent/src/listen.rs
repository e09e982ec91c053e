//! The listeners of the mirror and for peers: accepting connections, and serving each.

mod session;

pub(crate) use daemon::serve::accept::Accepted;

pub(crate) use self::session::{Client, Limits, Refused, Service, serve};

use daemon::{
    scope::Scope,
    serve::{accept, places::Places},
};
use tokio::net::TcpListener;

use crate::sockets;

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
    accept::accept_all(listener, &places, scope, refused, |accepted| {
        sockets::prepare(&accepted.stream);
        begin(accepted)
    })
    .await;
}
