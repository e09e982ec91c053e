//! A place of the tree: a region, a zone, a rack, or whatever the operator calls it.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::{RackId, Rate};

/// One place of the file's tree.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    pub(crate) rack: RackId,
    pub(crate) parent: Option<usize>,
    /// 1 for a place at the top.
    pub(crate) depth: u32,
    pub(crate) cidrs: Vec<IpNetwork>,
    pub(crate) uplink: Option<Uplink>,
    pub(crate) host_link: Rate,
    pub(crate) split: Option<RackPrefix>,
    pub(crate) linked: bool,
}

/// The link from a place to its parent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Uplink {
    /// Out of the place.
    pub up: Rate,
    /// Into the place.
    pub down: Rate,
}

/// How many leading bits of an address make its rack where the file names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RackPrefix {
    pub(crate) ipv4: u8,
    pub(crate) ipv6: u8,
}

/// A rack, and the place of the tree that it is or hangs below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) rack: RackId,
    pub(crate) place: Option<usize>,
}

impl Place {
    /// Unique in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the operator calls such a place: "rack", "zone".
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// The rack that this place is for those of its addresses that no place below it claims.
    pub fn rack(&self) -> RackId {
        self.rack
    }

    /// Where the parent stands in [`crate::Topology::places`].
    pub fn parent(&self) -> Option<usize> {
        self.parent
    }

    /// How many places down from the top it is, itself included.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// The place's own addresses.
    pub fn cidrs(&self) -> &[IpNetwork] {
        &self.cidrs
    }

    pub fn uplink(&self) -> Option<Uplink> {
        self.uplink
    }

    /// The link of each host in it, its own or inherited from a place above.
    pub fn host_link(&self) -> Rate {
        self.host_link
    }
}

impl RackPrefix {
    pub(crate) const DEFAULT: Self = Self { ipv4: 24, ipv6: 64 };

    pub(crate) fn rack(self, ip: IpAddr) -> RackId {
        RackId::guessed(ip, if ip.is_ipv4() { self.ipv4 } else { self.ipv6 })
    }
}
