//! Waiting for a socket, no longer than it deserves.

use std::{future::Future, io, time::Duration};

use tokio::net::TcpStream;

/// How long a receiver may take no byte before it is given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience(pub(crate) Duration);

impl Patience {
    /// Waits until the socket takes bytes.
    pub(super) async fn writable(self, socket: &TcpStream) -> io::Result<()> {
        self.bound(socket.writable()).await
    }

    async fn bound(self, ready: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        match tokio::time::timeout(self.0, ready).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the receiver takes no bytes",
            )),
        }
    }
}
