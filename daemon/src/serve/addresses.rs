//! How many connections each address has.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};

/// Connections of each address that has any.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    grouping: Grouping,
}

/// The slot of one connection; dropping it frees the slot.
#[derive(Debug)]
pub struct ConnectionSlot {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    /// None yet, where `grouping` says which addresses count as one.
    pub fn new(grouping: Grouping) -> Self {
        Self {
            counts: Arc::default(),
            grouping,
        }
    }

    /// Takes a place, unless the address has as many as `most` already.
    pub fn take(&self, address: IpAddr, most: usize) -> Option<ConnectionSlot> {
        let address = self.grouping.of(address);
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(ConnectionSlot {
            addresses: self.clone(),
            address,
        })
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Which addresses count as one. Clones are the same.
#[derive(Debug, Clone)]
pub struct Grouping {
    counts_as: fn(IpAddr) -> IpAddr,
    /// The network of this host.
    home: Arc<RwLock<Option<IpAddr>>>,
}

impl Default for Grouping {
    fn default() -> Self {
        Self::by(network)
    }
}

impl Grouping {
    /// By [`network`] or [`host`].
    pub fn by(counts_as: fn(IpAddr) -> IpAddr) -> Self {
        Self {
            counts_as,
            home: Arc::default(),
        }
    }

    /// For a host at `own`. The addresses of its own network of 64 bits, in which its neighbours are, count
    /// for themselves; others as [`network`] says.
    pub fn at(own: IpAddr) -> Self {
        let grouping = Self::default();
        grouping.moved(own);
        grouping
    }

    /// From now on the host is at `own`. What has a slot already keeps it, under what it counted as.
    pub fn moved(&self, own: IpAddr) {
        *self.home.write() = Some(network(own));
    }

    /// What an address counts as.
    pub fn of(&self, address: IpAddr) -> IpAddr {
        let network = (self.counts_as)(address);
        if *self.home.read() == Some(network) {
            address.to_canonical()
        } else {
            network
        }
    }
}

/// What counts as one address: of IPv6 the first 64 bits, since a host chooses the others itself.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// The same where all hosts of a cluster may be in one network of 64 bits: each address for itself.
pub fn host(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, same: bool) {
        let addresses = Addresses::default();
        let [one, other] = [one, other].map(|text| text.parse().expect("an address"));
        let first = addresses.take(one, 1).expect("the first has room");
        assert_eq!(addresses.take(other, 1).is_none(), same, "{one} {other}");
        drop(first);
        assert!(addresses.take(one, 1).is_some(), "there is room again");
        assert_eq!(addresses.counts.lock().len(), 0);
    }

    #[test]
    fn hosts_are_told_apart() {
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "::ffff:10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("2001:db8::1", "2001:db8::ffff:0:0:1", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
    }

    #[test]
    fn by_host_each_address_counts_for_itself() {
        let by_host = Grouping::by(host);
        let of = |text: &str| by_host.of(text.parse().expect("an address"));
        assert_ne!(of("2001:db8::1"), of("2001:db8::2"));
        assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
    }

    #[test]
    fn neighbours_count_for_themselves() {
        let [own, neighbour, pod, other] = ["fd00::1", "fd00::2", "fd00:0:0:1::3", "fd00:0:0:1::4"]
            .map(|text| text.parse().expect("an address"));
        let at_home = Grouping::at(own);
        assert_ne!(at_home.of(own), at_home.of(neighbour));
        assert_eq!(at_home.of(pod), at_home.of(other));
        assert_eq!(
            Grouping::default().of(own),
            Grouping::default().of(neighbour)
        );
        at_home.moved(pod);
        assert_eq!(at_home.of(own), at_home.of(neighbour));
        assert_ne!(at_home.of(pod), at_home.of(other));
    }
}
