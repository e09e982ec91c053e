//! Longest-prefix match: which place an address belongs to.
//!
//! Prefixes either nest or are apart, so the address space is cut into intervals that each have
//! one longest prefix, and a look-up is one binary search.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

/// The prefixes of both families.
#[derive(Debug, Clone, Default)]
pub(crate) struct PrefixTable {
    prefixes: Vec<Prefix>,
    v4: Intervals<u32>,
    v6: Intervals<u128>,
}

#[derive(Debug, Clone, Copy)]
struct Prefix {
    bits: u8,
    place: usize,
    /// The next shorter prefix that holds this one.
    outer: Option<usize>,
}

/// Where each interval starts, and the longest prefix from there on.
#[derive(Debug, Clone)]
struct Intervals<A> {
    starts: Vec<A>,
    prefix: Vec<Option<usize>>,
}

impl PrefixTable {
    /// Takes canonical prefixes without duplicates, in any order.
    pub(crate) fn new(cidrs: impl IntoIterator<Item = (IpNetwork, usize)>) -> Self {
        let mut cidrs: Vec<_> = cidrs.into_iter().collect();
        // A prefix directly follows those that hold it.
        cidrs.sort_unstable_by_key(|(net, _)| (net.network(), net.prefix()));
        let mut table = Self::default();
        let mut open: Vec<(usize, IpNetwork)> = Vec::new();
        for (net, place) in cidrs {
            while let Some((_, outer)) = open.last().copied() {
                if holds(outer, net) {
                    break;
                }
                open.pop();
                table.close(outer, open.last().map(|(index, _)| *index));
            }
            let index = table.prefixes.len();
            let outer = open.last().map(|(index, _)| *index);
            table.prefixes.push(Prefix {
                bits: net.prefix(),
                place,
                outer,
            });
            match net.network() {
                IpAddr::V4(ip) => table.v4.start(ip.to_bits(), Some(index)),
                IpAddr::V6(ip) => table.v6.start(ip.to_bits(), Some(index)),
            }
            open.push((index, net));
        }
        while let Some((_, net)) = open.pop() {
            table.close(net, open.last().map(|(index, _)| *index));
        }
        table
    }

    fn close(&mut self, net: IpNetwork, outer: Option<usize>) {
        match net.broadcast() {
            IpAddr::V4(last) => {
                if let Some(next) = last.to_bits().checked_add(1) {
                    self.v4.start(next, outer);
                }
            }
            IpAddr::V6(last) => {
                if let Some(next) = last.to_bits().checked_add(1) {
                    self.v6.start(next, outer);
                }
            }
        }
    }

    /// The place whose prefix is the longest that holds the address, which is canonical.
    pub(crate) fn place(&self, ip: IpAddr) -> Option<usize> {
        self.longest(ip).map(|prefix| prefix.place)
    }

    /// The place whose prefix is the longest that holds the whole network.
    pub(crate) fn place_around(&self, net: IpNetwork) -> Option<usize> {
        let mut prefix = self.longest(net.network())?;
        while prefix.bits > net.prefix() {
            prefix = self.prefixes.get(prefix.outer?)?;
        }
        Some(prefix.place)
    }

    /// The addresses around that one which have the same longest prefix or have none.
    pub(crate) fn stretch(&self, ip: IpAddr) -> (IpAddr, IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                let (first, next) = self.v4.around(ip.to_bits());
                let last = next.map_or(u32::MAX, |next| next - 1);
                (
                    Ipv4Addr::from_bits(first.unwrap_or(0)).into(),
                    Ipv4Addr::from_bits(last).into(),
                )
            }
            IpAddr::V6(ip) => {
                let (first, next) = self.v6.around(ip.to_bits());
                let last = next.map_or(u128::MAX, |next| next - 1);
                (
                    Ipv6Addr::from_bits(first.unwrap_or(0)).into(),
                    Ipv6Addr::from_bits(last).into(),
                )
            }
        }
    }

    fn longest(&self, ip: IpAddr) -> Option<&Prefix> {
        let index = match ip {
            IpAddr::V4(ip) => self.v4.at(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.at(ip.to_bits()),
        };
        self.prefixes.get(index?)
    }
}

pub(crate) fn holds(outer: IpNetwork, inner: IpNetwork) -> bool {
    outer.prefix() <= inner.prefix() && outer.contains(inner.network())
}

impl<A: Ord + Copy> Intervals<A> {
    fn start(&mut self, at: A, prefix: Option<usize>) {
        // The interval before was empty: a prefix that begins where another one begins or ends.
        if self.starts.last() == Some(&at)
            && let Some(last) = self.prefix.last_mut()
        {
            *last = prefix;
            return;
        }
        self.starts.push(at);
        self.prefix.push(prefix);
    }

    /// Where the interval of the address starts, and where the next one does.
    fn around(&self, ip: A) -> (Option<A>, Option<A>) {
        let after = self.starts.partition_point(|start| *start <= ip);
        let first = after
            .checked_sub(1)
            .and_then(|index| self.starts.get(index));
        (first.copied(), self.starts.get(after).copied())
    }

    fn at(&self, ip: A) -> Option<usize> {
        let after = self.starts.partition_point(|start| *start <= ip);
        self.prefix.get(after.checked_sub(1)?).copied().flatten()
    }
}

impl<A> Default for Intervals<A> {
    fn default() -> Self {
        Self {
            starts: Vec::new(),
            prefix: Vec::new(),
        }
    }
}
