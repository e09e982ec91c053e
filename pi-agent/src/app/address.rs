//! The address that the agent advertises to peers.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::net::UdpSocket;
use tracing::debug;

use crate::config::Run;

/// Longest wait for the server's name; without it the default route has to do.
const LOOKUP: Duration = Duration::from_secs(2);
/// An address for documentation: no host has it, so only the default route leads there.
const FAR_AWAY: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 9);

/// The address of the settings, or the one from which the server is reached, or the one of the
/// default route.
pub(super) async fn advertised(settings: &Run) -> Result<IpAddr> {
    if let Some(ip) = settings.advertise_address {
        return Ok(ip);
    }
    if !settings.peer_listen.ip().is_unspecified() {
        return Ok(settings.peer_listen.ip());
    }
    for server in &settings.servers.server {
        match tokio::time::timeout(LOOKUP, source_towards(server)).await {
            Ok(Ok(ip)) if !ip.is_loopback() => return Ok(ip),
            result => debug!(server, ?result, "this server tells no address to advertise"),
        }
    }
    match source(FAR_AWAY).await {
        Ok(ip) => Ok(ip),
        Err(error) => bail!("no address to advertise ({error}); give --advertise-address"),
    }
}

async fn source_towards(url: &str) -> Result<IpAddr> {
    let uri: http::Uri = url.parse()?;
    let host = uri.host().context("the URL has no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(80);
    let mut addresses = tokio::net::lookup_host((host, port)).await?;
    let address = addresses.next().context("the name has no address")?;
    Ok(source((address.ip(), port)).await?)
}

/// The source address that the routing table gives: connecting a datagram socket sends nothing.
async fn source(target: (IpAddr, u16)) -> std::io::Result<IpAddr> {
    let any = match target.0 {
        IpAddr::V4(_) => "0.0.0.0:0",
        IpAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket.local_addr()?.ip())
}
