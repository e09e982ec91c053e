//! Addresses and holders as the bytes that the store orders by.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
};

use piccolo_api::Holder;

/// IPv4 or IPv6; the two lie in spaces of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A holder's address bytes, then its port: bytes in the order of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Packed {
    /// Padded with zeros, so that whole arrays compare.
    bytes: [u8; 18],
    len: u8,
}

/// A range in address order, both ends included, and the position in it where a scan starts, so
/// that not all requesters find the same holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) first: Packed,
    pub(crate) begin: Packed,
    pub(crate) last: Packed,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// Bytes of a holder.
    pub(crate) fn stride(self) -> usize {
        match self {
            Self::V4 => 6,
            Self::V6 => 18,
        }
    }

    /// As the store numbers it.
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    pub(crate) fn from_number(number: i64) -> Option<Self> {
        Self::BOTH
            .into_iter()
            .find(|family| family.number() == number)
    }
}

impl Packed {
    pub(crate) fn new(ip: IpAddr, port: u16) -> Self {
        let mut bytes = [0; 18];
        let len = match ip.to_canonical() {
            IpAddr::V4(ip) => fill(&mut bytes, &ip.octets(), port),
            IpAddr::V6(ip) => fill(&mut bytes, &ip.octets(), port),
        };
        Self { bytes, len }
    }

    pub(crate) fn from_slice(slice: &[u8]) -> Option<Self> {
        if slice.len() != 6 && slice.len() != 18 {
            return None;
        }
        let mut bytes = [0; 18];
        bytes.get_mut(..slice.len())?.copy_from_slice(slice);
        Some(Self {
            len: u8::try_from(slice.len()).ok()?,
            bytes,
        })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    pub(crate) fn family(&self) -> Family {
        if self.len == 6 {
            Family::V4
        } else {
            Family::V6
        }
    }

    pub(crate) fn holder(&self) -> Option<Holder> {
        let (address, port) = self.as_slice().split_last_chunk::<2>()?;
        let ip = match <[u8; 4]>::try_from(address) {
            Ok(octets) => IpAddr::from(octets),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        };
        Holder::new(SocketAddr::new(ip, u16::from_be_bytes(*port))).ok()
    }
}

fn fill(bytes: &mut [u8; 18], address: &[u8], port: u16) -> u8 {
    let port = port.to_be_bytes();
    for (to, from) in bytes.iter_mut().zip(address.iter().chain(&port)) {
        *to = *from;
    }
    u8::try_from(address.len() + port.len()).unwrap_or(18)
}

impl From<Holder> for Packed {
    fn from(holder: Holder) -> Self {
        Self::new(holder.ip(), holder.port())
    }
}

impl Hash for Packed {
    /// The low bits, which differ between neighbours, are hashed last and alone: see
    /// [`QuickHash`](crate::quick_hash::QuickHash).
    fn hash<H: Hasher>(&self, state: &mut H) {
        let low = match self.bytes.first_chunk::<8>() {
            Some(first) if self.len == 6 => {
                let bits = u64::from_be_bytes(*first);
                state.write_u64(bits & !NEAR);
                bits & NEAR
            }
            _ => {
                self.as_slice().hash(state);
                0
            }
        };
        state.write_u8(u8::try_from(low >> 32).unwrap_or(0));
    }
}

/// Of an IPv4 address and port at the upper end of 64 bits: where neighbours differ.
const NEAR: u64 = 0b111 << 32;

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.holder() {
            Some(holder) => fmt::Display::fmt(&holder, f),
            None => f.write_str(&hex::encode(self.as_slice())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packed_holders_keep_order_and_text(a: IpAddr, b: IpAddr, p in 1..=u16::MAX, q in 1..=u16::MAX) {
            let (Ok(a), Ok(b)) = (Holder::new((a, p).into()), Holder::new((b, q).into())) else {
                return Ok(());
            };
            let (x, y) = (Packed::from(a), Packed::from(b));
            prop_assert_eq!(x.holder(), Some(a));
            prop_assert_eq!(Packed::from_slice(x.as_slice()), Some(x));
            if x.family() == y.family() {
                prop_assert_eq!(x.cmp(&y), (a.ip(), a.port()).cmp(&(b.ip(), b.port())));
            }
        }
    }
}
