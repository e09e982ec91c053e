//! The three listeners.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use daemon::serve::bind;
use tokio::net::{TcpListener, TcpSocket};

use crate::{config::Run, status::Addresses};

/// Connections that wait in the kernel until they are accepted.
const BACKLOG: u32 = 1024;

/// Bound sockets that accept no connection yet.
#[derive(Debug)]
pub(super) struct Bound {
    mirror: TcpSocket,
    peer: TcpSocket,
    admin: TcpSocket,
    addresses: Addresses,
}

#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) mirror: TcpListener,
    pub(super) peer: TcpListener,
    pub(super) admin: TcpListener,
}

impl Bound {
    pub(super) fn new(settings: &Run) -> Result<Self> {
        settings.check_ports()?;
        let (mirror, mirror_addr) = bind("mirror", settings.mirror_listen)?;
        let (peer, peer_addr) = bind("peer", settings.peer_listen)?;
        let (admin, admin_addr) = bind("admin", settings.admin_listen)?;
        let addresses = Addresses {
            mirror: mirror_addr,
            peer: peer_addr,
            admin: admin_addr,
        };
        Ok(Self {
            mirror,
            peer,
            admin,
            addresses,
        })
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses
    }

    pub(super) fn listen(self) -> Result<Listeners> {
        let listen = |socket: TcpSocket, name, addr: SocketAddr| {
            socket
                .listen(BACKLOG)
                .with_context(|| format!("listening on {addr} ({name})"))
        };
        Ok(Listeners {
            mirror: listen(self.mirror, "mirror", self.addresses.mirror)?,
            peer: listen(self.peer, "peer", self.addresses.peer)?,
            admin: listen(self.admin, "admin", self.addresses.admin)?,
        })
    }
}

fn bind(name: &str, addr: SocketAddr) -> Result<(TcpSocket, SocketAddr)> {
    let bind = || {
        let socket = bind::bind(addr)?;
        let bound = socket.local_addr()?;
        Ok::<_, std::io::Error>((socket, bound))
    };
    bind().with_context(|| {
        format!("binding {addr} for --{name}-listen (another agent may be running)")
    })
}
