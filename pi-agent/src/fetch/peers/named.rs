//! Checks the alternates that a busy peer names.
//!
//! The server vouches for the peers that it names. A peer can name any address, and the request
//! would come from inside this node (server-side request forgery): to a service that listens for
//! the node alone, or to a cloud's metadata service.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use piccolo_api::Holder;

/// Whether `named` may be asked, which `by` named to the node that peers know as `own`.
pub(super) fn may_be_asked(named: Holder, by: Holder, own: Option<Holder>) -> bool {
    // A peer on this very host can name others there; it reaches them without this agent.
    if by.ip().is_loopback() {
        return true;
    }
    let ip = named.ip();
    let own = own.is_some_and(|own| own.ip() == ip);
    !(named.is_of_a_link() || named.is_of_each_host() || own || is_of_this_host(ip))
}

/// Whether the host has the address: only then is a packet to it sent from it. Connecting a
/// datagram socket sends nothing.
fn is_of_this_host(ip: IpAddr) -> bool {
    let any: SocketAddr = match ip {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let source = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect((ip, 9))?;
        socket.local_addr()
    };
    // What no route leads to is not this host.
    source().is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::{Holder, may_be_asked};

    fn holder(text: &str) -> Holder {
        text.parse().unwrap()
    }

    fn check(named: &str, by: &str, asked: bool) {
        let own = Some(holder("10.0.0.9:7787"));
        let may = may_be_asked(holder(named), holder(by), own);
        assert_eq!(may, asked, "{named}, named by {by}");
    }

    #[test]
    fn only_addresses_of_the_network_may_be_named() {
        let peer = "10.0.0.1:7787";
        for named in ["10.0.0.2:7787", "198.51.100.7:80", "[2001:db8::7]:7787"] {
            check(named, peer, true);
        }
        for named in [
            "127.0.0.1:7786",
            "127.8.0.1:80",
            "[::1]:7786",
            "[::ffff:127.0.0.1]:80",
            "169.254.169.254:80",
            "[fe80::1]:7787",
            "255.255.255.255:7787",
            "0.0.0.1:80",
            "10.0.0.9:22",
        ] {
            check(named, peer, false);
            check(named, "[2001:db8::1]:7787", false);
        }
        // A peer on this host cannot name a useful alternate.
        check("127.0.0.1:7786", "127.0.0.1:5000", true);
    }

    #[test]
    fn addresses_of_nobody_are_no_holders() {
        for named in [
            "0.0.0.0:7787",
            "[::]:7787",
            "224.0.0.1:7787",
            "[ff02::1]:7787",
        ] {
            assert!(named.parse::<Holder>().is_err(), "{named}");
        }
    }
}
