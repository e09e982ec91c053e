//! The agent itself: whether it runs, listens and is ready.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use tokio::net::TcpStream;

use super::{Check, Verdict};
use crate::{
    keeper::{Duty, HostsStatus},
    status::Status,
};

/// Longest wait for this node's own listener.
const DIAL: Duration = Duration::from_secs(1);

pub(super) async fn checks(status: &Result<Status>) -> Vec<Check> {
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            return vec![Check::new(
                "agent",
                Verdict::Bad,
                format!("{error:#}"),
                "start it (systemctl start pi-agent, or look at the DaemonSet's pod on this node)",
            )];
        }
    };
    let at = &status.addresses;
    let listens = format!(
        "version {}, up {} s; mirror {}, peer {}, admin {}",
        status.version, status.uptime_seconds, at.mirror, at.peer, at.admin
    );
    vec![
        Check::good("agent", listens),
        ready(status),
        entries(&status.hosts),
        peer_port(status).await,
        trust(status),
    ]
}

fn ready(status: &Status) -> Check {
    if status.ready {
        Check::good("readiness", "ready")
    } else {
        let remedy = format!(
            "curl http://{}/readyz says what it waits for",
            status.addresses.admin
        );
        Check::new("readiness", Verdict::Warning, "not ready", remedy)
    }
}

/// What the agent itself says of the files; the files are looked at below.
fn entries(hosts: &HostsStatus) -> Check {
    let name = "mirror entries";
    let who = match hosts.duty {
        Duty::Off => return Check::good(name, "not kept by the agent (--hosts off)"),
        Duty::Watch => {
            "pi-agent keep-hosts (in the chart the container `hosts` of this pod; its log \
                        says what stands in the way)"
        }
        Duty::Write => "the agent (its log says what stands in the way)",
    };
    if hosts.in_force() {
        let found = format!("in force for {} registries", hosts.registries);
        Check::good(name, found)
    } else {
        let remedy = format!("mend that, and they are put in by {who}");
        Check::new(name, Verdict::Bad, hosts.complaint(), remedy)
    }
}

/// Peers that cannot reach this node get nothing from it.
async fn peer_port(status: &Status) -> Check {
    let holder = status.holder.clone().unwrap_or_default();
    if status.addresses.peer.ip().is_loopback() || holder.starts_with("127.") {
        return Check::new(
            "peer port",
            Verdict::Bad,
            format!("peers are told {holder}, which leads to themselves"),
            "give --advertise-address the node's address and --peer-listen [::]:7787",
        );
    }
    match dial(&holder).await {
        Ok(()) => Check::good("peer port", format!("{holder} answers, as peers are told")),
        Err(error) => Check::new(
            "peer port",
            Verdict::Bad,
            format!("peers are told {holder}, but not even this node reaches it: {error}"),
            "give --advertise-address an address of this node, and let the firewall pass the port",
        ),
    }
}

async fn dial(holder: &str) -> Result<()> {
    let address: SocketAddr = holder.parse()?;
    tokio::time::timeout(DIAL, TcpStream::connect(address)).await??;
    Ok(())
}

fn trust(status: &Status) -> Check {
    match status.quarantines.len() {
        0 => Check::good(
            "peers",
            format!("{} known, all trusted", status.peers.len()),
        ),
        count => Check::new(
            "peers",
            Verdict::Warning,
            format!("{count} quarantines after wrong bytes"),
            "pi-agent status names them; look at the disks of those nodes",
        ),
    }
}
