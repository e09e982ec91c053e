//! How near two addresses are by their common prefix.

use std::net::IpAddr;

/// The number of leading bits that both addresses have in common; none between families.
///
/// An IPv4 address in IPv6 form counts as IPv4.
pub fn common_prefix_bits(a: IpAddr, b: IpAddr) -> Option<u32> {
    match (a.to_canonical(), b.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Some((a.to_bits() ^ b.to_bits()).leading_zeros()),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some((a.to_bits() ^ b.to_bits()).leading_zeros()),
        _ => None,
    }
}

/// The common prefix as a share of the address: 1 for the same address, 0 between families.
pub fn closeness(a: IpAddr, b: IpAddr) -> f64 {
    let width = if a.to_canonical().is_ipv4() {
        32.0
    } else {
        128.0
    };
    common_prefix_bits(a, b).map_or(0.0, |bits| f64::from(bits) / width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn counts_leading_bits_within_a_family() {
        for (a, b, bits) in [
            ("10.0.0.1", "10.0.0.1", Some(32)),
            ("10.0.0.1", "10.0.0.2", Some(30)),
            ("10.0.0.1", "138.0.0.1", Some(0)),
            ("::ffff:10.0.0.1", "10.0.0.1", Some(32)),
            ("2001:db8::1", "2001:db8::1", Some(128)),
            ("2001:db8::", "2001:db8:0:1::", Some(63)),
            ("10.0.0.1", "2001:db8::1", None),
        ] {
            assert_eq!(common_prefix_bits(ip(a), ip(b)), bits, "{a} {b}");
            assert_eq!(common_prefix_bits(ip(b), ip(a)), bits, "{b} {a}");
        }
    }

    #[test]
    fn closeness_is_a_share_of_the_familys_width() {
        for (a, b, share) in [
            ("10.0.0.1", "10.0.0.1", 1.0),
            ("10.0.0.0", "10.0.128.0", 0.5),
            ("2001:db8:0:1::", "2001:db8::", 63.0 / 128.0),
            ("::1", "127.0.0.1", 0.0),
        ] {
            assert!((closeness(ip(a), ip(b)) - share).abs() < 1e-12, "{a} {b}");
        }
    }
}
