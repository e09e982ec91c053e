//! All holders of one key, in the order of their addresses.
//!
//! An image that every node has would take six bytes for each of them, and a hundred such keys more
//! than all else that the server holds. So only every so many holders stand whole; of the others it
//! stands how far they are from the one before: a byte or two, since those of one rack are
//! neighbours and have the same port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    packed::{Family, Packed},
    store::Nearest,
};

/// Holders of one family.
#[derive(Debug, Clone)]
pub(crate) struct List {
    family: Family,
    len: usize,
    heads: Vec<Head>,
    /// The steps of all blocks.
    steps: Vec<u8>,
    last: Spot,
}

/// Where a block begins.
#[derive(Debug, Clone, Copy)]
struct Head {
    first: Packed,
    /// Where the steps to its other holders stand.
    steps: u32,
}

/// A holder as numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Spot {
    address: u128,
    port: u16,
}

/// Goes upwards through a list.
#[derive(Debug, Clone)]
pub(crate) struct Upwards<'a> {
    list: &'a List,
    /// The index of the next one.
    index: usize,
    /// The one before it, unless it begins a block.
    spot: Spot,
    steps: &'a [u8],
}

/// Goes from a place in both directions, always on to the nearer of the two next ones.
#[derive(Debug)]
pub(crate) struct Outwards<'a> {
    list: &'a List,
    around: Packed,
    below: usize,
    above: usize,
    /// The holders of the block that `below` is in, up to there.
    lower: Vec<Packed>,
    upper: std::iter::Peekable<Upwards<'a>>,
}

/// Holders of one block.
const BLOCK: usize = 64;
/// Of a step's first byte: further bytes follow; the port is another one, and follows.
const MORE: u8 = 0x80;
const PORT: u8 = 0x40;

impl List {
    pub(crate) fn new(family: Family) -> Self {
        Self {
            family,
            len: 0,
            heads: Vec::new(),
            steps: Vec::new(),
            last: Spot::default(),
        }
    }

    /// Holders that are in their order already.
    pub(super) fn sorted(family: Family, holders: &[Packed]) -> Self {
        let mut list = Self::new(family);
        for holder in holders {
            list.push(*holder);
        }
        list.fit();
        list
    }

    /// What stands on either side of a place, when that is all there is.
    pub(super) fn of(family: Family, nearest: &Nearest) -> Self {
        let below = nearest.below.iter().rev();
        let holders: Vec<_> = below.chain(&nearest.above).copied().collect();
        Self::sorted(family, &holders)
    }

    /// Adds one that comes after all that are there; any other is left out.
    pub(super) fn push(&mut self, holder: Packed) {
        let Some(spot) = Spot::of(holder).filter(|_| holder.family() == self.family) else {
            return;
        };
        if self.len.is_multiple_of(BLOCK) {
            let Ok(steps) = u32::try_from(self.steps.len()) else {
                return;
            };
            self.heads.push(Head {
                first: holder,
                steps,
            });
        } else if !self.last.step_to(spot, &mut self.steps) {
            return;
        }
        self.len += 1;
        self.last = spot;
    }

    pub(super) fn insert(&mut self, holder: Packed) {
        let at = self.position(holder);
        if self.get(at) != Some(holder) {
            let mut holders: Vec<_> = self.from(0).collect();
            holders.insert(at, holder);
            *self = Self::sorted(self.family, &holders);
        }
    }

    pub(super) fn remove(&mut self, holder: Packed) {
        let at = self.position(holder);
        if self.get(at) == Some(holder) {
            let mut holders: Vec<_> = self.from(0).collect();
            holders.remove(at);
            *self = Self::sorted(self.family, &holders);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.heads.capacity() * size_of::<Head>() + self.steps.capacity()
    }

    pub(super) fn fit(&mut self) {
        self.heads.shrink_to_fit();
        self.steps.shrink_to_fit();
    }

    fn get(&self, index: usize) -> Option<Packed> {
        self.from(index).next()
    }

    /// How many come before that one.
    pub(crate) fn position(&self, holder: Packed) -> usize {
        let blocks = self.heads.partition_point(|head| head.first < holder);
        let Some(block) = blocks.checked_sub(1) else {
            return 0;
        };
        let block = block * BLOCK;
        let before = self.from(block).take(BLOCK).take_while(|h| *h < holder);
        block + before.count()
    }

    /// All from that index on.
    pub(crate) fn from(&self, index: usize) -> Upwards<'_> {
        let block = index / BLOCK;
        let mut upwards = Upwards {
            list: self,
            index: block * BLOCK,
            spot: Spot::default(),
            steps: &[],
        };
        for _ in upwards.index..index {
            upwards.next();
        }
        upwards
    }

    /// The holders with the longest prefix in common with `around` first.
    pub(crate) fn nearest(&self, around: Packed) -> Outwards<'_> {
        let at = self.position(around);
        let block = at - at % BLOCK;
        Outwards {
            list: self,
            around,
            below: at,
            above: at,
            lower: self.from(block).take(at - block).collect(),
            upper: self.from(at).peekable(),
        }
    }
}

impl Spot {
    fn of(holder: Packed) -> Option<Self> {
        let holder = holder.holder()?;
        let address = match holder.ip() {
            IpAddr::V4(ip) => ip.to_bits().into(),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        Some(Self {
            address,
            port: holder.port(),
        })
    }

    fn holder(self, family: Family) -> Packed {
        let ip = match family {
            Family::V4 => Ipv4Addr::from_bits(u32::try_from(self.address).unwrap_or(0)).into(),
            Family::V6 => Ipv6Addr::from_bits(self.address).into(),
        };
        Packed::new(ip, self.port)
    }

    /// Writes how to come from here to `next`; false if that does not come behind.
    fn step_to(self, next: Self, out: &mut Vec<u8>) -> bool {
        if (next.address, next.port) <= (self.address, self.port) {
            return false;
        }
        let mut far = next.address - self.address;
        let other_port = if next.port == self.port { 0 } else { PORT };
        out.push(low(far, 6) | other_port | if far >> 6 == 0 { 0 } else { MORE });
        far >>= 6;
        while far != 0 {
            out.push(low(far, 7) | if far >> 7 == 0 { 0 } else { MORE });
            far >>= 7;
        }
        if other_port != 0 {
            out.extend(next.port.to_be_bytes());
        }
        true
    }

    /// Reads what [`Self::step_to`] wrote.
    fn step(self, steps: &mut &[u8]) -> Option<Self> {
        let first = take(steps)?;
        let mut far = u128::from(first & (PORT - 1));
        let (mut more, mut bits) = (first & MORE != 0, 6);
        while more {
            let byte = take(steps)?;
            far |= u128::from(byte & (MORE - 1)) << bits;
            (more, bits) = (byte & MORE != 0, bits + 7);
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

fn take(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

impl Iterator for Upwards<'_> {
    type Item = Packed;

    fn next(&mut self) -> Option<Packed> {
        if self.index >= self.list.len {
            return None;
        }
        let index = self.index;
        self.index += 1;
        if index.is_multiple_of(BLOCK) {
            let head = self.list.heads.get(index / BLOCK)?;
            self.spot = Spot::of(head.first)?;
            self.steps = self.list.steps.get(usize::try_from(head.steps).ok()?..)?;
            return Some(head.first);
        }
        self.spot = self.spot.step(&mut self.steps)?;
        Some(self.spot.holder(self.list.family))
    }
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
        if self.lower.is_empty() && self.below > 0 {
            let block = self.list.from(self.below - BLOCK);
            self.lower.extend(block.take(BLOCK));
        }
        let downwards = match (self.lower.last(), self.upper.peek()) {
            (None, None) => return None,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(below), Some(above)) => {
                let around = self.around.as_slice();
                differences(below.as_slice(), around).lt(differences(above.as_slice(), around))
            }
        };
        if downwards {
            self.below -= 1;
            self.lower.pop()
        } else {
            self.above += 1;
            self.upper.next()
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

    fn ip_of(low: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + low).into()
    }

    /// Lists of racks, of hosts with several ports, and of addresses from anywhere, some of them of
    /// several blocks.
    fn holders() -> impl Strategy<Value = (Family, Vec<Packed>)> {
        let port = prop_oneof![Just(7787_u16), 1..=u16::MAX];
        let near = (0..2000_u32).prop_map(ip_of);
        let v4 = prop_oneof![near, any::<Ipv4Addr>().prop_map(IpAddr::from)];
        let v6 = any::<Ipv6Addr>().prop_map(IpAddr::from);
        let some = |family, ip: BoxedStrategy<IpAddr>| {
            let holder = (ip, port.clone()).prop_map(|(ip, port)| Packed::new(ip, port));
            let is_one = move |h: &Packed| h.holder().is_some() && h.family() == family;
            let all = prop::collection::vec(holder, 0..300);
            all.prop_map(move |all| (family, all.into_iter().filter(is_one).collect()))
        };
        prop_oneof![some(Family::V4, v4.boxed()), some(Family::V6, v6.boxed())]
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(
            (family, mut holders) in holders(),
            from in any::<prop::sample::Index>(),
            around in any::<prop::sample::Index>(),
        ) {
            holders.sort_unstable();
            holders.dedup();
            let list = List::sorted(family, &holders);
            prop_assert_eq!(list.len(), holders.len());
            let from = from.index(holders.len() + 1);
            prop_assert_eq!(&list.from(from).collect::<Vec<_>>(), &holders[from..]);
            for (index, holder) in holders.iter().enumerate() {
                prop_assert_eq!(list.position(*holder), index);
                prop_assert_eq!(list.get(index), Some(*holder));
            }
            if !holders.is_empty() {
                let around = holders[around.index(holders.len())];
                let mut outwards: Vec<_> = list.nearest(around).collect();
                outwards.sort_unstable();
                prop_assert_eq!(outwards, holders);
            }
        }

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
            let held: Vec<_> = list.from(0).collect();
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

    /// What the cache's bounds are made for.
    #[test]
    fn a_list_of_racks_takes_less_than_two_bytes_a_holder() {
        let racks = (0..250).flat_map(|rack| (1..=40).map(move |host| packed(rack * 256 + host)));
        let holders: Vec<_> = racks.collect();
        let list = List::sorted(Family::V4, &holders);
        assert!(list.bytes() < 2 * holders.len(), "{}", list.bytes());
    }
}
