//! What is compared, and where it listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use testbed::Host;

/// What is asked for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Target {
    /// nginx on the holder's node, by sendfile.
    Nginx,
    /// Our agent's peer listener there.
    Peer,
    /// nginx on the reader's node as a proxy of the first.
    Proxy,
    /// A relay to the first that splices.
    Splice,
    /// A relay to the first that reads and writes.
    Copy,
    /// Our agent's mirror on the reader's node, which asks our peer.
    Mirror,
    /// Our agent's mirror on the holder's node, which has it itself.
    Own,
    /// nginx on the holder's node, with TLS.
    NginxTls,
    /// Another of our agents there, which speaks TLS with others.
    PeerTls,
    /// nginx on the reader's node as a proxy of the one with TLS.
    ProxyTls,
    /// The mirror of another of our agents there, which asks the peer with TLS.
    MirrorTls,
}

impl Target {
    pub(in crate::bench) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx, sendfile",
            Self::Peer => "our peer",
            Self::Proxy => "nginx, proxy",
            Self::Splice => "splice relay",
            Self::Copy => "read/write relay",
            Self::Mirror => "our mirror",
            Self::Own => "our mirror, own content",
            Self::NginxTls => "nginx, TLS",
            Self::PeerTls => "our peer, TLS",
            Self::ProxyTls => "nginx, proxy, TLS",
            Self::MirrorTls => "our mirror, TLS",
        }
    }

    /// Who has the files.
    pub(super) fn source(self) -> Self {
        match self {
            Self::Peer | Self::Mirror | Self::Own => Self::Peer,
            Self::Nginx | Self::Proxy | Self::Splice | Self::Copy => Self::Nginx,
            Self::PeerTls | Self::MirrorTls => Self::PeerTls,
            Self::NginxTls | Self::ProxyTls => Self::NginxTls,
        }
    }
}

/// Where a target on a host listens.
pub(super) fn at(host: &Host, target: Target) -> SocketAddr {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    match target {
        Target::Nginx => (host.address, 8001).into(),
        Target::Peer => (host.address, 7787).into(),
        Target::Proxy => (local, 8002).into(),
        Target::Splice => (local, 8003).into(),
        Target::Copy => (local, 8004).into(),
        Target::Mirror | Target::Own => (local, 7788).into(),
        Target::NginxTls => (host.address, 8005).into(),
        Target::PeerTls => (host.address, 8787).into(),
        Target::ProxyTls => (local, 8006).into(),
        Target::MirrorTls => (local, 8788).into(),
    }
}
