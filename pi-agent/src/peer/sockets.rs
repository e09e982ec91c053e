//! Every socket on a peer port, of either side's making, passes through here.

use std::{
    fmt,
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
};

use tokio::net::TcpStream;

use super::{Meter, PeerBytes};

/// Is told of every socket between agents while it is open.
pub trait SocketWatch: Send + Sync + fmt::Debug {
    /// A socket was opened or accepted. It stays open until the returned guard is dropped.
    fn register(&self, peer: SocketAddr, socket: BorrowedFd<'_>) -> Box<dyn Watched>;
}

/// Told of a socket's progress, and dropped when the socket is about to be closed.
pub trait Watched: Send + Sync + fmt::Debug {
    /// `bytes` were read from the socket.
    fn received(&self, bytes: u64);

    /// `bytes` were written to the socket.
    fn sent(&self, bytes: u64);

    /// `bytes` more are going to be read from the socket, or else it is closed.
    fn will_receive(&self, socket: BorrowedFd<'_>, bytes: u64);

    /// `bytes` more are going to be written to the socket, or else it is closed.
    fn will_send(&self, socket: BorrowedFd<'_>, bytes: u64);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

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

impl SocketWatch for Unwatched {
    fn register(&self, _: SocketAddr, _: BorrowedFd<'_>) -> Box<dyn Watched> {
        Box::new(Self)
    }
}

impl Watched for Unwatched {
    fn received(&self, _: u64) {}

    fn sent(&self, _: u64) {}

    fn will_receive(&self, _: BorrowedFd<'_>, _: u64) {}

    fn will_send(&self, _: BorrowedFd<'_>, _: u64) {}
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
