//! A holder as numbers, and the way from one to the next.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::packed::{Family, Packed};

/// An address and a port, in the order of holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    address: u128,
    port: u16,
}

/// Flags of a delta's first byte: more bytes follow; the port differs from the last one, and follows.
const MORE: u8 = 0x80;
const PORT: u8 = 0x40;

impl Spot {
    pub(super) fn of(holder: Packed) -> Self {
        let (address, port) = holder
            .as_slice()
            .split_last_chunk()
            .unwrap_or((&[], &[0; 2]));
        let mut bits = 0;
        for byte in address {
            bits = bits << 8 | u128::from(*byte);
        }
        Self {
            address: bits,
            port: u16::from_be_bytes(*port),
        }
    }

    pub(super) fn holder(self, family: Family) -> Packed {
        let ip = match family {
            Family::V4 => Ipv4Addr::from_bits(u32::try_from(self.address).unwrap_or(0)).into(),
            Family::V6 => Ipv6Addr::from_bits(self.address).into(),
        };
        Packed::new(ip, self.port)
    }

    /// The bits in which two holders differ, the first ones first: less is nearer.
    pub(super) fn differences(self, other: Self) -> (u128, u16) {
        (self.address ^ other.address, self.port ^ other.port)
    }

    /// Writes the delta from here to `next`, which comes later.
    pub(super) fn step_to(self, next: Self, out: &mut Vec<u8>) {
        let mut far = next.address.saturating_sub(self.address);
        let port = if next.port == self.port { 0 } else { PORT };
        out.push(low(far, 6) | port | more(far >> 6));
        far >>= 6;
        while far != 0 {
            out.push(low(far, 7) | more(far >> 7));
            far >>= 7;
        }
        if port != 0 {
            out.extend(next.port.to_be_bytes());
        }
    }

    /// Reads what [`Self::step_to`] wrote.
    pub(super) fn step(self, steps: &mut &[u8]) -> Option<Self> {
        let first = take(steps)?;
        let mut far = u128::from(first & (PORT - 1));
        let (mut goes_on, mut bits) = (first & MORE != 0, 6);
        while goes_on {
            let byte = take(steps)?;
            far |= u128::from(byte & (MORE - 1)) << bits;
            (goes_on, bits) = (byte & MORE != 0, bits + 7);
        }
        let port = if first & PORT == 0 {
            self.port
        } else {
            u16::from_be_bytes([take(steps)?, take(steps)?])
        };
        Some(Self {
            address: self.address.wrapping_add(far),
            port,
        })
    }
}

fn low(number: u128, bits: u32) -> u8 {
    u8::try_from(number & ((1 << bits) - 1)).unwrap_or(0)
}

fn more(rest: u128) -> u8 {
    if rest == 0 { 0 } else { MORE }
}

fn take(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}
