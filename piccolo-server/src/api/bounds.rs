//! Where holders may be. Each agent connects to a holder that is taken: it must not be a service of the
//! cluster, of the internet, or of the agent's own host.

use std::{net::IpAddr, sync::Arc};

use daemon::{cidr::Cidr, metric::Metric, spell::Spell};
use metrics::counter;
use piccolo_api::Holder;
use tracing::warn;

use crate::topology_file::Current;

const REFUSED: &str = "piccolo_server_holders_refused_total";

/// What this module counts.
pub(super) const METRIC: Metric = Metric::counter(
    REFUSED,
    &[(
        "reason",
        "`local` (loopback, link-local, broadcast), `outside` (of `--node-cidrs`, or else of the \
         topology file), `port` (none of `--holder-port`)",
    )],
    "Calls about a holder at an address that no node has.",
);

/// The addresses and ports that holders may have.
#[derive(Debug)]
pub(crate) struct Bounds {
    cidrs: Vec<Cidr>,
    ports: Vec<u16>,
    topology: Arc<Current>,
    refused: Spell,
}

/// Why nobody is to be sent to a holder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BoundError {
    #[error(
        "holder {0} is an address that each host takes for its own, or knows on one link only; \
         advertise one that peers reach"
    )]
    Local(Holder),
    #[error(
        "holder {0} is not in the networks of the nodes; advertise an address that is, or add its \
         network to this server's --node-cidrs"
    )]
    OutsideCidrs(Holder),
    #[error(
        "holder {0} is at no address of the topology file; add it there, or say with this server's \
         --node-cidrs where nodes are"
    )]
    OutsideTopology(Holder),
    #[error(
        "holder {0} has a port on which no agent serves here; have it listen on another one, or add \
         its port to this server's --holder-port"
    )]
    Port(Holder),
}

impl Bounds {
    /// Without `cidrs` the topology says where nodes are, if it has any address; without `ports` each is
    /// taken.
    pub(crate) fn new(cidrs: Vec<Cidr>, ports: Vec<u16>, topology: Arc<Current>) -> Self {
        Self {
            cidrs,
            ports,
            topology,
            refused: Spell::new("no holders at addresses that no node has are named any more"),
        }
    }

    /// Whether what `caller` says of a holder is taken.
    pub(super) fn check(&self, holder: Holder, caller: IpAddr) -> Result<(), BoundError> {
        let Err((error, reason)) = self.judge(holder, caller) else {
            self.refused.is_well();
            return Ok(());
        };
        counter!(REFUSED, "reason" => reason).increment(1);
        self.refused.happened(|times| {
            warn!(%holder, %caller, times, why = %error, "a holder was refused");
        });
        Err(error)
    }

    fn judge(&self, holder: Holder, caller: IpAddr) -> Result<(), (BoundError, &'static str)> {
        // Nodes on the server's own host see each other there.
        let is_of_each_host = holder.is_of_each_host() && !caller.is_loopback();
        if is_of_each_host || holder.is_of_a_link() {
            return Err((BoundError::Local(holder), "local"));
        }
        let ip = holder.ip();
        if self.cidrs.is_empty() {
            let topology = self.topology.get();
            if topology.has_addresses() && !topology.knows(ip) {
                return Err((BoundError::OutsideTopology(holder), "outside"));
            }
        } else if !self.cidrs.iter().any(|range| range.contains(ip)) {
            return Err((BoundError::OutsideCidrs(holder), "outside"));
        }
        if !self.ports.is_empty() && !self.ports.contains(&holder.port()) {
            return Err((BoundError::Port(holder), "port"));
        }
        Ok(())
    }
}
