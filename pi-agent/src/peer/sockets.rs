//! Every socket on a peer port, of either side's making, passes through here.

use std::{net::SocketAddr, os::fd::AsFd as _, sync::Arc};

use tokio::net::TcpStream;

use super::{
    ledger::{Meter, PeerBytes},
    watch::SocketWatch,
};

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

    /// Takes up a socket that was just opened or accepted.
    pub(crate) fn register(&self, peer: SocketAddr, socket: &TcpStream) -> Registered {
        Registered {
            meter: (self.bytes).meter(peer.ip(), self.watch.register(peer, socket.as_fd())),
        }
    }
}
