//! The sockets between agents, accepted and opened ones: counts the bytes of each peer (`ledger`), and
//! tells the accounting of each socket (`watch`). Sets the options of these and of the mirror's.

mod ledger;
mod watch;

pub(crate) use self::ledger::Meter;
pub use self::{
    ledger::{Direction, PeerBytes, PeerTotals},
    watch::{SocketWatch, Unwatched, Watched},
};

use std::{net::SocketAddr, os::fd::AsFd as _, sync::Arc};

use tokio::net::TcpStream;

/// How long sent bytes may stay without acknowledgement before the kernel gives a connection up,
/// in milliseconds. Half-open connections end by it.
const USER_TIMEOUT: u32 = 20_000;

/// What is done with every socket between agents. Clones are the same.
#[derive(Debug, Clone)]
pub struct PeerSockets {
    bytes: PeerBytes,
    watch: Arc<dyn SocketWatch>,
}

/// A socket's counters and its watcher's guard.
///
/// Where both are members of one struct, this comes before the socket, so that the guard is
/// dropped while the socket is open; the same goes for clones of the meter.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) meter: Meter,
}

impl PeerSockets {
    /// Counts in `bytes` and tells `watch`.
    pub fn new(bytes: PeerBytes, watch: Arc<dyn SocketWatch>) -> Self {
        Self { bytes, watch }
    }

    /// The counters.
    pub fn bytes(&self) -> &PeerBytes {
        &self.bytes
    }

    /// Registers a socket that was just opened or accepted.
    pub(crate) fn register(&self, peer: SocketAddr, socket: &TcpStream) -> Registered {
        Registered {
            meter: (self.bytes).meter(peer.ip(), self.watch.register(peer, socket.as_fd())),
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
