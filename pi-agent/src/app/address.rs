//! The address that the agent advertises to peers.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use daemon::{metric::Metric, rtnetlink::AddressChanges, scope::Scope, telemetry::chain};
use piccolo_api::Holder;
use tokio::net::UdpSocket;
use tracing::{debug, info, warn};

use crate::{config::Run, ebpf, here::Here};

/// The metrics of this module.
pub(super) const METRICS: &[Metric] = &[CHANGES];

const CHANGES: Metric = Metric::counter(
    "piccolo_agent_address_changes_total",
    &[],
    "How often peers were told another address of this node, as it did not have the one before any more.",
);

/// Longest wait for the server's name; without it the default route has to do.
const LOOKUP: Duration = Duration::from_secs(2);
/// How often the addresses are looked at where the kernel does not tell of changes.
const LOOK: Duration = Duration::from_secs(30);
/// How long changes are let come to an end: an address is replaced in several steps.
const SETTLE: Duration = Duration::from_secs(1);
/// The port of `discard`. Nothing is sent there.
const PORT: u16 = 9;
/// Addresses for documentation: no host has them, so only the default routes lead there.
const FAR_AWAY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The address of the settings, or the one from which the server is reached, or the one of the
/// default route.
///
/// # Errors
/// When there is none, or peers cannot reach it.
pub(super) async fn advertised(settings: &Run) -> Result<IpAddr> {
    let ip = find(settings).await?.to_canonical();
    match unreachable(ip, settings.peer_listen.ip()) {
        Some(why) => bail!("peers cannot be told {ip}: {why}"),
        None => Ok(ip),
    }
}

/// Whether the settings say which address peers are told, so that no other is.
fn is_given(settings: &Run) -> bool {
    settings.advertise_address.is_some() || !settings.peer_listen.ip().is_unspecified()
}

/// Tells `here` of another address once this node does not have the one there any more, and `moved` before it. What
/// the settings give stays.
pub(super) async fn follow(settings: Run, here: Here, moved: impl Fn(IpAddr), scope: Scope) {
    if is_given(&settings) {
        scope.draining().await;
        return;
    }
    let watched = async {
        let changes = AddressChanges::new();
        if let Err(error) = &changes {
            warn!(error = %chain(error), "the kernel does not tell of changed addresses; they are looked at each {LOOK:?}");
        }
        let mut lost = Lost::default();
        loop {
            match &changes {
                // Looking at them now and then costs nothing, and nothing is lost with an event.
                Ok(changes) => _ = tokio::time::timeout(LOOK, changes.next()).await,
                Err(_) => tokio::time::sleep(LOOK).await,
            }
            tokio::time::sleep(SETTLE).await;
            look(&settings, &here, &moved, &mut lost).await;
        }
    };
    tokio::select! {
        () = scope.draining() => {}
        () = watched => {}
    }
}

/// What is remembered of the address.
#[derive(Debug, Default)]
struct Lost {
    /// Whether it was said that it is gone.
    said: bool,
    /// The one at the start, to which this node returns when it has it again.
    first: Option<Holder>,
}

async fn look(settings: &Run, here: &Here, moved: &impl Fn(IpAddr), lost: &mut Lost) {
    let (Some(old), Ok(own)) = (here.get(), ebpf::own_addresses()) else {
        return;
    };
    let first = *lost.first.get_or_insert(old);
    let is_back = old != first && own.contains(&first.ip());
    if own.contains(&old.ip()) && !is_back {
        lost.said = false;
        return;
    }
    let found = if is_back {
        // The one meanwhile may be one that peers do not reach.
        Some(first)
    } else {
        let ip = advertised(settings).await.ok();
        let ip = ip.filter(|ip| own.contains(ip));
        ip.and_then(|ip| Holder::new((ip, old.port()).into()).ok())
    };
    let Some(new) = found else {
        if !std::mem::replace(&mut lost.said, true) {
            warn!(%old, "this node does not have its address any more, and there is no other to advertise yet");
        }
        return;
    };
    lost.said = false;
    info!(%old, %new, "this node has another address, which peers are told");
    metrics::counter!(CHANGES.name).increment(1);
    moved(new.ip());
    here.set(new);
}

/// Why peers would not reach an address of this node, if they would not.
fn unreachable(ip: IpAddr, listens: IpAddr) -> Option<String> {
    let (takes, wants) = match (listens.to_canonical(), ip) {
        (IpAddr::V4(_), IpAddr::V6(_)) => ("IPv4", "IPv6"),
        (IpAddr::V6(any), IpAddr::V4(_)) if !any.is_unspecified() => ("IPv6", "IPv4"),
        _ => return no_host(ip, listens).map(str::to_owned),
    };
    Some(format!(
        "--peer-listen {listens} takes {takes} only; give it an address of {wants}, or [::] for both"
    ))
}

fn no_host(ip: IpAddr, listens: IpAddr) -> Option<&'static str> {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_unspecified() || ip.is_multicast() {
        Some("it is no host's; give --advertise-address one of this node's")
    } else if is_link_local {
        Some("it is known on its own link only; give --advertise-address one that is routed")
    } else if ip.is_loopback() && !listens.is_loopback() {
        Some("it leads each of them to itself; give --advertise-address the node's")
    } else {
        None
    }
}

async fn find(settings: &Run) -> Result<IpAddr> {
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
    let mut failed = None;
    for ip in FAR_AWAY {
        match source((ip, PORT)).await {
            Ok(ip) => return Ok(ip),
            // The first says more: most networks have IPv4.
            Err(error) => _ = failed.get_or_insert(error),
        }
    }
    let why = failed.map_or_else(String::new, |error| format!(" ({error})"));
    bail!("no address to advertise{why}; give --advertise-address")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_peers_reach_is_advertised() {
        let why = |ip: &str, listens: &str| {
            let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
            unreachable(parse(ip), parse(listens))
        };
        for (ip, listens) in [
            ("10.0.0.1", "::"),
            ("fd09::6", "::"),
            ("10.0.0.1", "0.0.0.0"),
            ("fd09::6", "fd09::6"),
            // A forwarded port.
            ("192.0.2.1", "10.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
        ] {
            assert_eq!(why(ip, listens), None, "{ip} {listens}");
        }
        for (ip, listens, words) in [
            ("fd09::6", "0.0.0.0", "takes IPv4 only"),
            ("10.0.0.1", "fd09::6", "takes IPv6 only"),
            ("::", "::", "no host's"),
            ("ff02::1", "::", "no host's"),
            ("fe80::1", "::", "on its own link"),
            ("169.254.0.1", "::", "on its own link"),
            ("127.0.0.1", "0.0.0.0", "to itself"),
        ] {
            let why = why(ip, listens).unwrap_or_default();
            assert!(why.contains(words), "{ip} {listens}: {why}");
        }
    }
}
