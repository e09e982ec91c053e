//! Opening the sockets that a process listens on.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::io::Errno;
use tokio::net::TcpSocket;

/// Every address of this host, of both families.
const EVERY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A socket that is bound and does not listen yet. `[::]` takes connections of both families,
/// whatever `net.ipv6.bindv6only` says; on a host without IPv6 it is `0.0.0.0`. A restarted process
/// does not wait until the kernel has forgotten its predecessor's connections.
///
/// # Errors
/// When the address is taken, or is none of this host's.
pub fn bind(addr: SocketAddr) -> io::Result<TcpSocket> {
    match bind_exactly(addr) {
        Err(error) if addr.ip() == EVERY && has_no_ipv6(&error) => {
            bind_exactly(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port()))
        }
        bound => bound,
    }
}

fn bind_exactly(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if addr.ip() == EVERY {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

/// The kernel was built, or started, without it, or it is off for every interface.
fn has_no_ipv6(error: &io::Error) -> bool {
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|none| error.raw_os_error() == Some(none.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_address_takes_both_families() {
        let socket = bind(SocketAddr::new(EVERY, 0)).expect("it binds");
        let port = socket.local_addr().expect("an address").port();
        let _listener = socket.listen(2).expect("it listens");
        let loopbacks = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ];
        for address in loopbacks {
            let connected = tokio::net::TcpStream::connect((address, port)).await;
            connected.unwrap_or_else(|error| panic!("{address}: {error}"));
        }
    }

    #[test]
    fn hosts_without_ipv6_are_known_by_their_errors() {
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            assert!(has_no_ipv6(&errno.into()), "{errno}");
        }
        assert!(!has_no_ipv6(&Errno::ADDRINUSE.into()));
    }
}
