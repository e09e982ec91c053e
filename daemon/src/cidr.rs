//! A range of addresses, as settings write it: `10.0.0.0/8`, `fd00::/8`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use ipnetwork::IpNetwork;

/// A range of addresses of one family. An IPv4-mapped IPv6 range of 96 bits or more is one of IPv4.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Cidr(IpNetwork);

/// Why a text is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of addresses like 10.0.0.0/8 or fd00::/8")]
pub struct CidrError(String);

/// The bits of an IPv6 address before an IPv4 address that is mapped into it.
const MAPPED: u8 = 96;

impl Cidr {
    /// Whether the address, in whatever form, is in the range.
    pub fn contains(self, ip: IpAddr) -> bool {
        self.0.contains(ip.to_canonical())
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.chars().take(64).collect());
        // One address would be a range, too, and is more often a mistake.
        if !text.contains('/') {
            return Err(wrong());
        }
        let range: IpNetwork = text.trim().parse().map_err(|_error| wrong())?;
        let mapped = |ip: Ipv6Addr| ip.to_ipv4_mapped();
        let IpNetwork::V6(six) = range else {
            return Ok(Self(range));
        };
        match (mapped(six.ip()), six.prefix().checked_sub(MAPPED)) {
            (Some(four), Some(prefix)) => IpNetwork::new(four.into(), prefix)
                .map(Self)
                .map_err(|_error| wrong()),
            _ => Ok(Self(range)),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(range: &str, ip: &str) -> bool {
        let range: Cidr = range.parse().expect("a range");
        range.contains(ip.parse().expect("an address"))
    }

    #[test]
    fn an_address_is_in_a_range_in_either_form() {
        for (range, ip) in [
            ("10.0.0.0/8", "10.9.8.7"),
            ("10.0.0.0/8", "::ffff:10.9.8.7"),
            ("::ffff:10.0.0.0/104", "10.9.8.7"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("fd00::/8", "fd09::6"),
            ("0.0.0.0/0", "192.0.2.1"),
            ("::/0", "2001:db8::1"),
        ] {
            assert!(has(range, ip), "{range} {ip}");
        }
        for (range, ip) in [
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.1/32", "10.0.0.2"),
            ("0.0.0.0/0", "fd09::6"),
            ("::/0", "10.0.0.1"),
            ("::/0", "::ffff:10.0.0.1"),
        ] {
            assert!(!has(range, ip), "{range} {ip}");
        }
    }

    #[test]
    fn a_text_that_is_no_range_is_named() {
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.0/33",
            "nodes",
            "10.0.0/8",
            "fd00::/129",
        ] {
            let error = text.parse::<Cidr>().expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
