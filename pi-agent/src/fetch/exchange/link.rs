//! A connection to a peer.

use std::{io, time::Duration};

use daemon::tls::{AgentError, Agents, Socket, Way};
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
    pub(crate) stream: Socket,
    pub(crate) inbox: Inbox,
    /// Since when it waits for the next request.
    pub(crate) since: Instant,
}

/// How peers are dialled.
#[derive(Debug)]
pub(crate) struct Dialler {
    pub(crate) sockets: PeerSockets,
    /// How both sides show who they are.
    pub(crate) agents: Agents,
    /// How long a connection may take.
    pub(crate) dial: Duration,
    /// How long a handshake may take.
    pub(crate) handshake: Duration,
}

impl Dialler {
    /// Opens a connection.
    pub(crate) async fn dial(&self, holder: Holder) -> Result<Link, PeerError> {
        match self.agents.way(holder.ip()) {
            Way::Plain => Ok(self.plain(holder, self.connect(holder).await?)),
            Way::Tls => self.secured(holder, self.connect(holder).await?).await,
            Way::Either => {
                // The second one is there for when it turns out that the first one is of no use: a peer
                // without TLS costs one round trip more, and that once a minute.
                let (first, second) = tokio::join!(self.connect(holder), self.connect(holder));
                match self.secured(holder, first?).await {
                    Err(PeerError::Tls(AgentError::NoTls(_))) => Ok(self.plain(holder, second?)),
                    secured => secured,
                }
            }
        }
    }

    /// Whether a connection that was kept may be used still: a plain one may not once the peer has shown a
    /// certificate.
    pub(crate) fn may_use(&self, link: &Link) -> bool {
        link.stream.as_plain().is_none() || self.agents.way(link.holder.ip()) != Way::Tls
    }

    async fn connect(&self, holder: Holder) -> Result<TcpStream, PeerError> {
        let stream = match timeout(self.dial, TcpStream::connect(holder.addr())).await {
            Ok(result) => result.map_err(PeerError::Dial)?,
            Err(_) => return Err(PeerError::DialDeadline),
        };
        sockets::prepare(&stream);
        Ok(stream)
    }

    fn plain(&self, holder: Holder, stream: TcpStream) -> Link {
        let registered = self.sockets.register(holder.addr(), &stream);
        Link::new(holder, registered, Socket::plain(stream))
    }

    async fn secured(&self, holder: Holder, stream: TcpStream) -> Result<Link, PeerError> {
        let registered = self.sockets.register(holder.addr(), &stream);
        let (ip, overhead) = (holder.ip(), registered.meter.clone());
        let dialled = self.agents.dial(stream, ip, self.handshake, overhead).await;
        Ok(Link::new(
            holder,
            registered,
            dialled.map_err(PeerError::Tls)?,
        ))
    }
}

impl Link {
    fn new(holder: Holder, registered: Registered, stream: Socket) -> Self {
        Self {
            holder,
            registered,
            stream,
            inbox: Inbox::default(),
            since: Instant::now(),
        }
    }

    /// The peer's counters.
    pub(crate) fn meter(&self) -> &Meter {
        &self.registered.meter
    }

    /// Whether the connection is still open, without unexpected bytes.
    pub(crate) fn is_fresh(&self) -> bool {
        let mut byte = [0];
        let quiet = matches!(
            rustix::io::read(self.stream.tcp(), &mut byte),
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock
        );
        quiet && self.inbox.len() == 0 && self.stream.held() == 0 && self.stream.is_current()
    }
}
