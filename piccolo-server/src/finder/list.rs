//! All holders of one key, in the order of their addresses.

use crate::{
    packed::{Family, Packed},
    store::Nearest,
};

/// Holders of one family, six bytes each for IPv4 and eighteen for IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List {
    stride: usize,
    bytes: Vec<u8>,
}

impl List {
    pub(crate) fn new(family: Family) -> Self {
        let stride = match family {
            Family::V4 => 6,
            Family::V6 => 18,
        };
        Self {
            stride,
            bytes: Vec::new(),
        }
    }

    /// What stands on either side of a place, when that is all there is.
    pub(super) fn of(family: Family, nearest: &Nearest) -> Self {
        let mut list = Self::new(family);
        for holder in nearest.below.iter().rev().chain(&nearest.above) {
            list.push(*holder);
        }
        list
    }

    /// Adds one that comes after all that are there.
    pub(super) fn push(&mut self, holder: Packed) {
        let bytes = holder.as_slice();
        if bytes.len() == self.stride {
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(super) fn insert(&mut self, holder: Packed) {
        let at = self.position(holder);
        if self.get(at) != Some(holder) && holder.as_slice().len() == self.stride {
            let at = at * self.stride;
            self.bytes.splice(at..at, holder.as_slice().iter().copied());
        }
    }

    pub(super) fn remove(&mut self, holder: Packed) {
        let at = self.position(holder);
        if self.get(at) == Some(holder) {
            let at = at * self.stride;
            self.bytes.drain(at..at + self.stride);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() / self.stride
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn fit(&mut self) {
        self.bytes.shrink_to_fit();
    }

    pub(crate) fn get(&self, index: usize) -> Option<Packed> {
        Packed::from_slice(self.slice(index)?)
    }

    /// How many come before that one.
    pub(crate) fn position(&self, holder: Packed) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.slice(middle) {
                Some(slice) if slice < holder.as_slice() => low = middle + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// Indexes of the holders with the longest prefix in common with `around` first.
    pub(crate) fn nearest(&self, around: Packed) -> Outwards<'_> {
        let at = self.position(around);
        Outwards {
            list: self,
            around,
            below: at,
            above: at,
        }
    }

    fn slice(&self, index: usize) -> Option<&[u8]> {
        let from = index.checked_mul(self.stride)?;
        self.bytes.get(from..from + self.stride)
    }
}

/// Goes from a place in both directions, always on to the nearer of the two next ones.
#[derive(Debug)]
pub(crate) struct Outwards<'a> {
    list: &'a List,
    around: Packed,
    below: usize,
    above: usize,
}

impl Outwards<'_> {
    /// The indexes that were passed: from the first to before the second.
    pub(crate) fn passed(&self) -> (usize, usize) {
        (self.below, self.above)
    }
}

impl Iterator for Outwards<'_> {
    type Item = Packed;

    fn next(&mut self) -> Option<Packed> {
        let below = self.below.checked_sub(1).and_then(|i| self.list.slice(i));
        let above = self.list.slice(self.above);
        let downwards = match (below, above) {
            (None, None) => return None,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(below), Some(above)) => {
                let around = self.around.as_slice();
                differences(below, around).lt(differences(above, around))
            }
        };
        if downwards {
            self.below -= 1;
            below.and_then(Packed::from_slice)
        } else {
            self.above += 1;
            above.and_then(Packed::from_slice)
        }
    }
}

/// The bits in which two addresses differ, the first ones first: less is nearer.
fn differences<'a>(a: &'a [u8], b: &'a [u8]) -> impl Iterator<Item = u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(ip: u32) -> Packed {
        Packed::new(ip_of(ip), 7787)
    }

    fn ip_of(low: u32) -> std::net::IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + low).into()
    }

    proptest! {
        #[test]
        fn a_list_is_a_sorted_set(numbers: Vec<u8>, gone: Vec<u8>, around: u8) {
            let mut list = List::new(Family::V4);
            let mut expected = std::collections::BTreeSet::new();
            for n in &numbers {
                list.insert(packed(u32::from(*n)));
                expected.insert(packed(u32::from(*n)));
            }
            for n in &gone {
                list.remove(packed(u32::from(*n)));
                expected.remove(&packed(u32::from(*n)));
            }
            let held: Vec<_> = (0..list.len()).filter_map(|n| list.get(n)).collect();
            prop_assert_eq!(&held, &expected.iter().copied().collect::<Vec<_>>());

            let around = ip_of(u32::from(around));
            let mut outwards: Vec<_> = list.nearest(Packed::new(around, 0)).collect();
            let bits = |holder: &Packed| {
                let ip = holder.holder().map(|holder| holder.ip());
                ip.and_then(|ip| topology::common_prefix_bits(ip, around))
            };
            prop_assert!(outwards.windows(2).all(|w| bits(&w[0]) >= bits(&w[1])), "{:?}", outwards);
            outwards.sort_unstable();
            prop_assert_eq!(outwards, held);
        }
    }
}
