//! A holder: the address on which an agent serves its peers.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Where an agent serves its peers: `10.0.0.1:7787` or `[fd00::1]:7787`.
///
/// The address is canonical (an IPv4-mapped IPv6 address becomes IPv4), is neither unspecified
/// nor multicast, and the port is not 0, so that two spellings of one holder are one value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Holder(SocketAddr);

/// Why a text is no holder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HolderError {
    /// Not `address:port`.
    #[error("holder {0:?} is not of the form 10.0.0.1:7787 or [fd00::1]:7787")]
    Syntax(String),
    /// An address or port on which no peer is reachable.
    #[error("holder {0} cannot be reached: its address is unspecified or multicast, or its port 0")]
    Unreachable(SocketAddr),
}

impl Holder {
    /// Takes an address on which an agent can be reached.
    ///
    /// # Errors
    /// [`HolderError::Unreachable`] for an unspecified or multicast address and for port 0.
    pub fn new(addr: SocketAddr) -> Result<Self, HolderError> {
        let canonical = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let ip = canonical.ip();
        if ip.is_unspecified() || ip.is_multicast() || canonical.port() == 0 {
            return Err(HolderError::Unreachable(canonical));
        }
        Ok(Self(canonical))
    }

    /// The canonical socket address.
    pub fn addr(&self) -> SocketAddr {
        self.0
    }

    /// The canonical IP address.
    pub fn ip(&self) -> IpAddr {
        self.0.ip()
    }

    /// Whether each host takes the address for its own: loopback, and IPv4's network 0.
    pub fn is_of_each_host(&self) -> bool {
        match self.ip() {
            IpAddr::V4(ip) => ip.is_loopback() || ip.octets()[0] == 0,
            IpAddr::V6(ip) => ip.is_loopback(),
        }
    }

    /// Whether the address means something on one link only: link-local, and IPv4's broadcast.
    pub fn is_of_a_link(&self) -> bool {
        match self.ip() {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.0.port()
    }
}

impl FromStr for Holder {
    type Err = HolderError;

    fn from_str(text: &str) -> Result<Self, HolderError> {
        match text.parse() {
            Ok(addr) => Self::new(addr),
            Err(_) => Err(HolderError::Syntax(text.chars().take(64).collect())),
        }
    }
}

impl TryFrom<String> for Holder {
    type Error = HolderError;

    fn try_from(text: String) -> Result<Self, HolderError> {
        text.parse()
    }
}

impl From<Holder> for String {
    fn from(holder: Holder) -> Self {
        holder.to_string()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
