//! Which of the addresses that others name this node connects to.
//!
//! A server names what it was told, and a node of the rack what it likes. The request comes from inside
//! this node: it must not reach what listens for the node alone, nor a cloud's metadata service.

use std::{net::IpAddr, sync::Arc};

use daemon::{cidr::Cidr, metric::Metric, spell::Spell};
use metrics::counter;
use piccolo_api::Holder;
use tracing::warn;

/// What this module counts.
pub const METRICS: &[Metric] = &[REFUSED];

const REFUSED: Metric = Metric::counter(
    "piccolo_agent_named_holders_refused_total",
    &[(
        "reason",
        "`local` (loopback, link-local, broadcast), `outside` (of `--node-cidrs`)",
    )],
    "Holders that the server or a peer named and that were not asked, since no node is there.",
);

/// Where other nodes may be. Clones are the same.
#[derive(Debug, Clone)]
pub struct Reach(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Whether this node is told to others at loopback, so that they are on this host.
    is_on_loopback: bool,
    /// Networks of the nodes; none for all.
    cidrs: Vec<Cidr>,
    refused: Spell,
}

impl Reach {
    /// Of a node that its peers know at `own`. Without `cidrs` nodes may be anywhere in the network.
    pub fn new(own: IpAddr, cidrs: Vec<Cidr>) -> Self {
        Self::of(own.to_canonical().is_loopback(), cidrs)
    }

    fn of(is_on_loopback: bool, cidrs: Vec<Cidr>) -> Self {
        for reason in ["local", "outside"] {
            counter!(REFUSED.name, "reason" => reason).increment(0);
        }
        Self(Arc::new(Inner {
            is_on_loopback,
            cidrs,
            refused: Spell::new("no addresses at which no node is were named of late"),
        }))
    }

    /// Whether `named` may be asked; counts it if not.
    pub(crate) fn allows(&self, named: Holder) -> bool {
        let Some(reason) = self.refuses(named) else {
            self.0.refused.is_well();
            return true;
        };
        counter!(REFUSED.name, "reason" => reason).increment(1);
        self.0.refused.happened(|times| {
            warn!(%named, reason, times, "somebody named an address at which no node is; it is not asked");
        });
        false
    }

    fn refuses(&self, named: Holder) -> Option<&'static str> {
        let is_of_each_host = named.is_of_each_host() && !self.0.is_on_loopback;
        if is_of_each_host || named.is_of_a_link() {
            return Some("local");
        }
        let cidrs = &self.0.cidrs;
        let is_outside = !cidrs.is_empty() && !cidrs.iter().any(|range| range.contains(named.ip()));
        is_outside.then_some("outside")
    }
}

/// Of a node on loopback.
impl Default for Reach {
    fn default() -> Self {
        Self::of(true, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_nodes_are() {
        let reach = |own: &str, cidrs: &[&str]| {
            let cidrs = cidrs.iter().map(|range| range.parse().expect("a range"));
            Reach::new(own.parse().expect("an address"), cidrs.collect())
        };
        let network = ["10.0.0.0/8", "::ffff:192.0.2.0/120", "fd00::/8"];
        for (own, cidrs, named, why) in [
            ("10.0.0.9", &[][..], "10.0.0.1:7787", None),
            ("10.0.0.9", &[], "198.51.100.7:443", None),
            ("10.0.0.9", &[], "127.0.0.1:7786", Some("local")),
            ("10.0.0.9", &[], "[::ffff:127.8.0.1]:80", Some("local")),
            ("10.0.0.9", &[], "[::1]:7786", Some("local")),
            ("10.0.0.9", &[], "0.0.0.1:80", Some("local")),
            ("10.0.0.9", &[], "169.254.169.254:80", Some("local")),
            ("10.0.0.9", &[], "[fe80::1]:7787", Some("local")),
            ("10.0.0.9", &[], "255.255.255.255:7787", Some("local")),
            ("127.0.0.1", &[], "127.0.0.2:7787", None),
            ("127.0.0.1", &[], "169.254.169.254:80", Some("local")),
            ("10.0.0.9", &network, "10.1.0.1:7787", None),
            ("10.0.0.9", &network, "[::ffff:10.1.0.1]:7787", None),
            ("10.0.0.9", &network, "192.0.2.9:7787", None),
            ("10.0.0.9", &network, "[fd09::6]:7787", None),
            ("10.0.0.9", &network, "198.51.100.7:443", Some("outside")),
            ("10.0.0.9", &network, "[2001:db8::1]:443", Some("outside")),
            ("127.0.0.1", &network, "127.0.0.2:7787", Some("outside")),
        ] {
            let named = named.parse().expect("a holder");
            assert_eq!(reach(own, cidrs).refuses(named), why, "{own} {named}");
        }
    }
}
