//! The three listeners, and one more where containerd is still led to the port of older releases.

use std::{io, net::SocketAddr};

use anyhow::{Context as _, Result};
use daemon::serve::bind;
use tokio::net::{TcpListener, TcpSocket};
use tracing::warn;

use crate::{config::Run, status::Addresses};

/// Connections that wait in the kernel until they are accepted.
const BACKLOG: u32 = 1024;

/// Bound sockets that accept no connection yet.
#[derive(Debug)]
pub(super) struct Bound {
    mirror: TcpSocket,
    peer: TcpSocket,
    admin: TcpSocket,
    former: Option<TcpSocket>,
    addresses: Addresses,
}

#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) mirror: TcpListener,
    pub(super) peer: TcpListener,
    pub(super) admin: TcpListener,
    /// The mirror at its former port.
    pub(super) former: Option<TcpListener>,
}

impl Bound {
    /// Binds them; `former` is one more address of the mirror, if it is free.
    pub(super) fn new(settings: &Run, former: Option<SocketAddr>) -> Result<Self> {
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
            former: former.and_then(bind_former),
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
            former: self.former.and_then(|socket| socket.listen(BACKLOG).ok()),
        })
    }
}

fn bind(name: &str, addr: SocketAddr) -> Result<(TcpSocket, SocketAddr)> {
    let bind = || {
        let socket = bind::bind(addr)?;
        let bound = socket.local_addr()?;
        Ok::<_, std::io::Error>((socket, bound))
    };
    bind().map_err(|error| {
        let may_not = error.kind() == io::ErrorKind::PermissionDenied && name == "mirror";
        let port = addr.port();
        let context = if may_not {
            format!(
                "port {port} for --mirror-listen takes the capability NET_BIND_SERVICE, and this process has not \
                 got it: give it to the agent (systemd: CAP_NET_BIND_SERVICE in CapabilityBoundingSet, and in \
                 AmbientCapabilities where User is not root; Kubernetes: capabilities.add in its \
                 securityContext; by hand: setcap cap_net_bind_service=+ep on the program), or use the port \
                 of older releases with --mirror-listen 127.0.0.1:7788 and --mirror-url \
                 http://127.0.0.1:7788, whose place any process can take"
            )
        } else {
            format!("binding {addr} for --{name}-listen (another agent may be running)")
        };
        anyhow::Error::new(error).context(context)
    })
}

/// Who has the port already is no reason not to serve at the own one.
fn bind_former(addr: SocketAddr) -> Option<TcpSocket> {
    let bound = bind::bind(addr);
    bound
        .inspect_err(|error| {
            warn!(
                %addr, %error,
                "mirror files name an address of older releases that another process may have: pulls that \
                 begin before they are renewed are not served"
            );
        })
        .ok()
}
