//! How many nodes stand in each rack.

use std::{collections::BTreeMap, net::IpAddr};

use topology::{RackId, Topology};

use crate::databases::Databases;

/// The living nodes, by their racks.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Living nodes of each rack.
    pub(crate) racks: BTreeMap<RackId, usize>,
    /// Living nodes whose addresses the file does not mention.
    pub(crate) unknown: usize,
}

impl Census {
    /// Counts the nodes that are alive at `now`, in milliseconds since the Unix epoch.
    pub(crate) fn take(databases: &Databases, topology: &Topology, now: i64) -> Self {
        let mut census = Self::default();
        for ip in addresses(databases, now) {
            *census.racks.entry(topology.locate(ip)).or_default() += 1;
            census.unknown += usize::from(!topology.knows(ip));
        }
        census
    }
}

/// The addresses of all living nodes.
pub(crate) fn addresses(databases: &Databases, now: i64) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for database in databases.all() {
        let view = database.nodes().view(now);
        let holders = view.living();
        all.extend(holders.filter_map(|holder| holder.holder().map(|h| h.ip())));
    }
    all
}
