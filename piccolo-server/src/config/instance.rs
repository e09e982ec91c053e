//! Under which address other instances reach this one.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// An address, and its port where it is another one than this instance listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceAddress {
    ip: IpAddr,
    port: Option<u16>,
}

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstanceAddressError {
    /// It is none at all.
    #[error(
        "{0:?} is no address of an instance; examples: 10.0.0.7, 10.0.0.7:7789, fd00::7, [fd00::7]:7789"
    )]
    Syntax(String),
    /// It is one to listen on, or one of many hosts.
    #[error(
        "{0} is no address of one host; say under which one the other instances reach this one"
    )]
    NotOneHost(IpAddr),
    /// Nothing is reached there.
    #[error("no instance is reached at port 0; leave the port out where it is that of --listen")]
    NoPort,
}

impl InstanceAddress {
    /// With the port of the listener where none is given.
    pub fn at(self, listener: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(listener.port()))
    }
}

impl FromStr for InstanceAddress {
    type Err = InstanceAddressError;

    fn from_str(text: &str) -> Result<Self, InstanceAddressError> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        let (ip, port) = match (text.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
            (Ok(address), _) => (address.ip(), Some(address.port())),
            (_, Ok(ip)) => (ip, None),
            _ => return Err(InstanceAddressError::Syntax(text.to_owned())),
        };
        let ip = ip.to_canonical();
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(InstanceAddressError::NotOneHost(ip));
        }
        if port == Some(0) {
            return Err(InstanceAddressError::NoPort);
        }
        Ok(Self { ip, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_and_kubernetes_write_them() {
        let listener = SocketAddr::from(([0, 0, 0, 0], 7789));
        for (text, wanted) in [
            ("10.0.0.7", "10.0.0.7:7789"),
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("fd00::7", "[fd00::7]:7789"),
            ("[fd00::7]", "[fd00::7]:7789"),
            ("[fd00::7]:80", "[fd00::7]:80"),
            ("::ffff:10.0.0.7", "10.0.0.7:7789"),
        ] {
            let address: InstanceAddress = text.parse().expect(text);
            assert_eq!(address.at(listener).to_string(), wanted);
        }
        for text in [
            "",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "10.0.0.7:0",
            "host:7789",
            "http://10.0.0.7",
        ] {
            assert!(text.parse::<InstanceAddress>().is_err(), "{text}");
        }
    }
}
