//! Which peers have a name of their own in the metrics.
//!
//! A label that once was shown stays, so names are given sparingly: to the first peers, and later to
//! peers with more bytes than a named one, but in all to no more than a few times the limit; a peer
//! that had one may have it again. What passes with any other peer is summed up under one name; a peer that loses its name keeps its
//! counters as they are, so that no counter ever goes back and the sum over all is exact.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// How many times the limit may be named over the life of the process.
const TURNS: usize = 4;
/// A peer needs this many times the bytes of the one whose place it takes, so that two alike do not
/// take turns.
const AHEAD: u64 = 2;

/// The peers that are named.
#[derive(Debug)]
pub(crate) struct Named {
    limit: usize,
    /// Bytes since the agent started, by peer.
    peers: BTreeMap<IpAddr, u64>,
    /// Every peer that ever was named.
    given: BTreeSet<IpAddr>,
}

/// What becomes of a peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has a name.
    Own,
    /// It has a name now, and this one has lost it.
    Instead(IpAddr),
    /// It is one of the others.
    Other,
}

impl Named {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            peers: BTreeMap::new(),
            given: BTreeSet::new(),
        }
    }

    /// The place of `peer`, with which `bytes` have passed so far.
    pub(crate) fn place(&mut self, peer: IpAddr, bytes: u64) -> Place {
        if let Some(known) = self.peers.get_mut(&peer) {
            *known = bytes;
            return Place::Own;
        }
        let new = !self.given.contains(&peer);
        if new && self.given.len() >= self.limit.saturating_mul(TURNS) {
            return Place::Other;
        }
        if self.peers.len() < self.limit {
            self.give(peer, bytes);
            return Place::Own;
        }
        let least = self.peers.iter().min_by_key(|(_, bytes)| **bytes);
        let Some((&least, &fewest)) = least else {
            return Place::Other;
        };
        if bytes <= fewest.saturating_mul(AHEAD) {
            return Place::Other;
        }
        self.peers.remove(&least);
        self.give(peer, bytes);
        Place::Instead(least)
    }

    /// A peer was forgotten; its place is free.
    pub(crate) fn forget(&mut self, peer: IpAddr) {
        self.peers.remove(&peer);
    }

    fn give(&mut self, peer: IpAddr, bytes: u64) {
        self.peers.insert(peer, bytes);
        self.given.insert(peer);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(n: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, n).into()
    }

    #[test]
    fn the_busiest_take_the_places_of_the_least_busy() {
        let mut named = Named::new(2);
        assert_eq!(named.place(peer(1), 100), Place::Own);
        assert_eq!(named.place(peer(2), 300), Place::Own);
        assert_eq!(named.place(peer(3), 200), Place::Other);
        assert_eq!(named.place(peer(3), 201), Place::Instead(peer(1)));
        assert_eq!(named.place(peer(1), 150), Place::Other);
        assert_eq!(named.place(peer(2), 301), Place::Own);
    }

    #[test]
    fn the_names_ever_given_are_bounded() {
        let mut named = Named::new(2);
        let places: Vec<_> = (0..30)
            .map(|n| named.place(peer(n), 3_u64.pow(n.into())))
            .collect();
        let given = places
            .iter()
            .filter(|place| **place != Place::Other)
            .count();
        assert_eq!(given, 8);
    }
}
