//! A connection to a peer.

use std::{io, time::Duration};

use piccolo_api::Holder;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use super::error::PeerError;
use crate::{
    http::Inbox,
    sockets::{self, Meter, PeerSockets, Registered},
};

/// An open connection to a peer, between requests or within one.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) holder: Holder,
    // Before the socket, so that its watcher looks at it a last time while it is open.
    registered: Registered,
    pub(crate) stream: TcpStream,
    pub(crate) inbox: Inbox,
    /// Since when it waits for the next request.
    pub(crate) since: Instant,
}

impl Link {
    /// Opens a connection, or gives up after `within`.
    pub(crate) async fn dial(
        holder: Holder,
        sockets: &PeerSockets,
        within: Duration,
    ) -> Result<Self, PeerError> {
        let stream = match timeout(within, TcpStream::connect(holder.addr())).await {
            Ok(result) => result.map_err(PeerError::Dial)?,
            Err(_) => return Err(PeerError::DialDeadline),
        };
        sockets::prepare(&stream);
        Ok(Self {
            holder,
            registered: sockets.register(holder.addr(), &stream),
            stream,
            inbox: Inbox::default(),
            since: Instant::now(),
        })
    }

    /// The peer's counters.
    pub(crate) fn meter(&self) -> &Meter {
        &self.registered.meter
    }

    /// Whether the connection is still open, without unexpected bytes.
    pub(crate) fn is_fresh(&self) -> bool {
        let mut byte = [0];
        let quiet = matches!(
            rustix::io::read(&self.stream, &mut byte),
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock
        );
        quiet && self.inbox.len() == 0
    }
}
