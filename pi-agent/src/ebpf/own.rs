//! The addresses of this node, which are nobody's peer.
#![expect(unsafe_code, reason = "the list of interfaces comes as a C list")]

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
};

/// The addresses of all the interfaces in this network namespace.
pub(crate) fn addresses() -> io::Result<BTreeSet<IpAddr>> {
    let mut list = List(ptr::null_mut());
    // SAFETY: the pointer is written to; `List` frees what it points at.
    if unsafe { libc::getifaddrs(&raw mut list.0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = BTreeSet::new();
    let mut next = list.0.cast_const();
    // SAFETY: null, or an entry that lives as long as the list.
    while let Some(entry) = unsafe { next.as_ref() } {
        found.extend(address(entry.ifa_addr));
        next = entry.ifa_next;
    }
    Ok(found)
}

/// Whether an address is not a peer's: loopback, unspecified, or one of `own`.
pub(crate) fn is_own(address: IpAddr, own: &BTreeSet<IpAddr>) -> bool {
    address.is_loopback() || address.is_unspecified() || own.contains(&address)
}

struct List(*mut libc::ifaddrs);

impl Drop for List {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: from `getifaddrs`, and freed once.
            unsafe { libc::freeifaddrs(self.0) };
        }
    }
}

fn address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: null, or an address of at least this length.
    let family = unsafe { address.as_ref() }?.sa_family;
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: the family says what it is; the read asks for no alignment.
            let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_node_is_not_its_own_peer() {
        let own = addresses().expect("interfaces");
        assert!(own.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "{own:?}");
        assert!(is_own(Ipv6Addr::LOCALHOST.into(), &BTreeSet::new()));
        assert!(!is_own(Ipv4Addr::new(192, 0, 2, 1).into(), &own));
    }
}
