//! The identity of a rack, whether the file names it or an address prefix stands for it.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Serialize, Serializer};

use crate::mix;

/// A rack: a place of the file that addresses fall into, or a prefix where the file says nothing.
///
/// It is cheap to copy and to compare, and means the same after the file was reloaded, on every
/// instance and in the database. [`crate::Topology::rack_name`] gives the name people know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RackId(Identity);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Identity {
    Named(u64),
    Prefix(IpNetwork),
}

impl RackId {
    /// The rack of that name. A CIDR names the rack that was guessed from it, and the form that
    /// [`RackId`]'s `Display` gives to a rack whose name is lost names that rack.
    pub fn from_name(name: &str) -> Self {
        if let Ok(network) = name.parse::<IpNetwork>()
            && name.contains('/')
        {
            return Self::guessed(network.ip(), network.prefix());
        }
        let lost = name.strip_prefix('#').filter(|digits| digits.len() == 16);
        Self(Identity::Named(
            match lost.map(|digits| u64::from_str_radix(digits, 16)) {
                Some(Ok(hash)) => hash,
                _ => mix::bytes(0, name.as_bytes()),
            },
        ))
    }

    /// The rack that stands for the address's prefix of that many bits.
    pub(crate) fn guessed(ip: IpAddr, bits: u8) -> Self {
        let ip = ip.to_canonical();
        let bits = bits.min(if ip.is_ipv4() { 32 } else { 128 });
        let network = IpNetwork::new(ip, bits)
            .and_then(|network| IpNetwork::new(network.network(), bits))
            .unwrap_or_else(|_| IpNetwork::from(ip));
        Self(Identity::Prefix(network))
    }

    /// The prefix of a guessed rack; none for one that the file names.
    pub fn guessed_prefix(self) -> Option<IpNetwork> {
        match self.0 {
            Identity::Named(_) => None,
            Identity::Prefix(network) => Some(network),
        }
    }

    /// A number that stands for it, the same on every instance: two racks have the same one about as
    /// often as two hashes of 64 bits are alike.
    pub fn number(self) -> u64 {
        match self.0 {
            Identity::Named(hash) => hash,
            Identity::Prefix(network) => mix::address(u64::from(network.prefix()), network.ip()),
        }
    }
}

/// The prefix, or `#` and 16 digits for a named rack; both are understood by
/// [`RackId::from_name`].
impl fmt::Display for RackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Identity::Named(hash) => write!(f, "#{hash:016x}"),
            Identity::Prefix(network) => network.fmt(f),
        }
    }
}

impl Serialize for RackId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_displayed_rack_is_read_back() {
        for name in ["r1", "10.0.1.0/24", "2001:db8:1::/64", "#00000000deadbeef"] {
            let rack = RackId::from_name(name);
            assert_eq!(RackId::from_name(&rack.to_string()), rack, "{name}");
        }
        assert_ne!(RackId::from_name("r1"), RackId::from_name("r2"));
    }

    #[test]
    fn a_guess_keeps_only_the_prefix() {
        let guess = |text: &str, bits| RackId::guessed(text.parse().expect("address"), bits);
        assert_eq!(guess("10.0.1.7", 24).to_string(), "10.0.1.0/24");
        assert_eq!(guess("::ffff:10.0.1.7", 24), guess("10.0.1.200", 24));
        assert_eq!(guess("10.0.1.7", 99).to_string(), "10.0.1.7/32");
        assert_eq!(guess("2001:db8:1::7", 64).to_string(), "2001:db8:1::/64");
    }
}
