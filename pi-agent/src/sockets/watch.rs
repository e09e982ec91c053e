//! The interface through which the accounting watches the sockets between agents.

use std::{fmt, net::SocketAddr, os::fd::BorrowedFd};

/// Receives every socket between agents while it is open.
pub trait SocketWatch: Send + Sync + fmt::Debug {
    /// A socket was opened or accepted. It stays open until the returned guard is dropped.
    fn register(&self, peer: SocketAddr, socket: BorrowedFd<'_>) -> Box<dyn Watched>;
}

/// Receives a socket's progress; dropped before the socket is closed.
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

/// A watch that ignores all sockets.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

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
