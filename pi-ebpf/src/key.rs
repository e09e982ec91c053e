//! A peer's address as the key of the map of peers.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The third word of every IPv4 address in mapped form, `::ffff:a.b.c.d`.
const MAPPED: u32 = 0xffff_u32.to_be();

/// A peer's address: IPv6 as it is on the wire, IPv4 in mapped form, so that the two ways a
/// dual-stack socket may show one IPv4 peer are one peer.
///
/// Words in network byte order rather than bytes: a byte array is copied by a call of `memcpy`,
/// whose loop the verifier lets pass only with `CAP_PERFMON`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    words: [u32; 4],
}

impl PeerKey {
    /// The key of an IPv4 address, given in network byte order.
    #[inline]
    pub const fn v4(address: u32) -> Self {
        Self {
            words: [0, 0, MAPPED, address],
        }
    }

    /// The key of an IPv6 address, given as words in network byte order.
    #[inline]
    pub const fn v6(address: [u32; 4]) -> Self {
        Self { words: address }
    }

    /// The address; IPv4 as IPv4.
    pub fn address(self) -> IpAddr {
        let mut octets = [0; 16];
        for (to, word) in octets.chunks_exact_mut(4).zip(self.words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        Ipv6Addr::from(octets).to_canonical()
    }
}

impl From<Ipv4Addr> for PeerKey {
    fn from(address: Ipv4Addr) -> Self {
        Self::v4(u32::from_ne_bytes(address.octets()))
    }
}

impl From<Ipv6Addr> for PeerKey {
    fn from(address: Ipv6Addr) -> Self {
        let o = address.octets();
        let word = |at: usize| u32::from_ne_bytes([o[at], o[at + 1], o[at + 2], o[at + 3]]);
        Self::v6([word(0), word(4), word(8), word(12)])
    }
}

impl From<IpAddr> for PeerKey {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, shown: &str) {
        let address: IpAddr = given.parse().expect("an address");
        let shown: IpAddr = shown.parse().expect("an address");
        assert_eq!(PeerKey::from(address).address(), shown);
    }

    #[test]
    fn an_address_survives_its_key() {
        check("10.1.2.3", "10.1.2.3");
        check("fd00::1:2", "fd00::1:2");
        check("::1", "::1");
    }

    #[test]
    fn mapped_and_plain_ipv4_are_one_peer() {
        check("::ffff:10.1.2.3", "10.1.2.3");
        let plain: IpAddr = "10.1.2.3".parse().expect("an address");
        let mapped: IpAddr = "::ffff:10.1.2.3".parse().expect("an address");
        assert_eq!(PeerKey::from(plain), PeerKey::from(mapped));
    }
}
