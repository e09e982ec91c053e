//! Names that lead away from this node.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

/// The one metadata service of a cloud that is at no link-local address.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Resolves names as the system does, and leaves out loopback and what is on this node's link: metadata
/// services of clouds are there.
#[derive(Debug, Clone)]
pub(super) struct Outside(GaiResolver);

impl Default for Outside {
    fn default() -> Self {
        Self(GaiResolver::new())
    }
}

impl Service<Name> for Outside {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = self.0.call(name);
        Box::pin(async move {
            let outside = found.await?.filter(|found| is_outside(found.ip()));
            let outside: Vec<_> = outside.collect();
            if outside.is_empty() {
                let why = "the name leads to this node or its link only";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
            Ok(outside.into_iter())
        })
    }
}

/// Whether an address may be another host's, beyond this node's link. This node's own addresses in the network
/// are such, too: there it listens for others.
pub(super) fn is_outside(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address == METADATA,
    };
    !(is_link_local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}
