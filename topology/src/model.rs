//! The topology in force: places, the addresses they hold, and the links between them.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::mix::Map;
use crate::path::{DirectLink, Link, Ways};
use crate::place::{Place, RackPrefix, Spot};
use crate::ranking::Ranking;
use crate::table::PrefixTable;
use crate::{RackId, Rate};

/// What the operators declared about their network.
///
/// The default knows nothing: racks are guessed from the addresses' prefixes, and every host has a
/// link of 10 Gbit/s.
#[derive(Debug, Clone)]
pub struct Topology {
    pub(crate) places: Vec<Place>,
    pub(crate) by_rack: Map<RackId, usize>,
    pub(crate) table: PrefixTable,
    /// By the indexes of the two places, from and to.
    pub(crate) links: Map<(usize, usize), DirectLink>,
    pub(crate) ranking: Ranking,
    pub(crate) host_link: Rate,
    pub(crate) split: RackPrefix,
}

impl Topology {
    pub(crate) const HOST_LINK: Rate = Rate::from_bits_per_second(10e9);

    /// The rack of an address. Never fails: an address that the file does not mention gets a rack
    /// from its prefix.
    pub fn locate(&self, ip: IpAddr) -> RackId {
        self.spot(ip).rack
    }

    /// Whether the file mentions the address.
    pub fn knows(&self, ip: IpAddr) -> bool {
        self.table.place(ip.to_canonical()).is_some()
    }

    /// Whether the file says of any address where it is.
    pub fn has_addresses(&self) -> bool {
        self.places.iter().any(|place| !place.cidrs.is_empty())
    }

    /// What people call the rack. A rack that the file no longer has shows as `#` and digits.
    pub fn rack_name(&self, rack: RackId) -> Cow<'_, str> {
        match self.declared(rack) {
            Some(place) => Cow::Borrowed(place.name()),
            None => Cow::Owned(rack.to_string()),
        }
    }

    /// The rack of that name, or the one guessed from that CIDR.
    pub fn rack_named(&self, name: &str) -> Option<RackId> {
        let rack = RackId::from_name(name);
        (rack.guessed_prefix().is_some() || self.by_rack.contains_key(&rack)).then_some(rack)
    }

    /// The addresses in which the rack's hosts are found. They may hold addresses of other racks
    /// too, whose longer prefixes lie within.
    pub fn rack_prefixes(&self, rack: RackId) -> Vec<IpNetwork> {
        match (rack.guessed_prefix(), self.declared(rack)) {
            (Some(prefix), _) => vec![prefix],
            (None, Some(place)) => place.cidrs.clone(),
            (None, None) => Vec::new(),
        }
    }

    /// The way that bytes take from a host of one rack to a host of another or the same.
    pub fn path(&self, from: RackId, to: RackId) -> Link {
        self.way(self.spot_of(from), self.spot_of(to))
    }

    pub(crate) fn way(&self, from: Spot, to: Spot) -> Link {
        let ways = Ways {
            places: &self.places,
            links: &self.links,
            host_link: self.host_link,
        };
        ways.between(from, to)
    }

    /// Every place of the file, parents before their children.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The knobs in force.
    pub fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    pub(crate) fn spot(&self, ip: IpAddr) -> Spot {
        let ip = ip.to_canonical();
        let Some(index) = self.table.place(ip) else {
            return Spot {
                rack: self.split.rack(ip),
                place: None,
            };
        };
        let rack = match self.places.get(index) {
            Some(Place {
                split: Some(split), ..
            }) => split.rack(ip),
            Some(place) => place.rack,
            None => self.split.rack(ip),
        };
        Spot {
            rack,
            place: Some(index),
        }
    }

    /// The addresses around that one, which is canonical, that are in the same spot.
    pub(crate) fn stretch(&self, ip: IpAddr, spot: Spot) -> (IpAddr, IpAddr) {
        let (first, last) = self.table.stretch(ip);
        match spot.rack.guessed_prefix() {
            Some(prefix) => (first.max(prefix.network()), last.min(prefix.broadcast())),
            None => (first, last),
        }
    }

    pub(crate) fn spot_of(&self, rack: RackId) -> Spot {
        let place = match rack.guessed_prefix() {
            Some(prefix) => self.table.place_around(prefix),
            None => self.by_rack.get(&rack).copied(),
        };
        Spot { rack, place }
    }

    fn declared(&self, rack: RackId) -> Option<&Place> {
        self.places.get(*self.by_rack.get(&rack)?)
    }
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            by_rack: Map::default(),
            table: PrefixTable::default(),
            links: Map::default(),
            ranking: Ranking::DEFAULT,
            host_link: Self::HOST_LINK,
            split: RackPrefix::DEFAULT,
        }
    }
}
