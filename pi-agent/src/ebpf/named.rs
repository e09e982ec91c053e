//! Which peers have a name of their own in the metrics.
//!
//! The first peers have one, and later peers with more bytes than a named one, in its place. What
//! passes with any other peer is summed up under one name. A peer that loses its name keeps its
//! counters as they are, so that no counter goes back and nothing is lost between two scrapes, until
//! so many others have lost theirs after it that the page would have more than a few times the limit:
//! only then its series are left out.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

/// How many times the limit is shown at most, those that have lost their names included.
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
    /// Those that had a name, and are shown still; the one that lost it first comes first.
    lost: VecDeque<IpAddr>,
}

/// How a peer is shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Naming {
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
            lost: VecDeque::new(),
        }
    }

    /// The place of `peer`, with which `bytes` have passed so far.
    pub(crate) fn place(&mut self, peer: IpAddr, bytes: u64) -> Naming {
        if let Some(known) = self.peers.get_mut(&peer) {
            *known = bytes;
            return Naming::Own;
        }
        if self.peers.len() < self.limit {
            self.give(peer, bytes);
            return Naming::Own;
        }
        let least = self.peers.iter().min_by_key(|(_, bytes)| **bytes);
        let Some((&least, &fewest)) = least else {
            return Naming::Other;
        };
        if bytes <= fewest.saturating_mul(AHEAD) {
            return Naming::Other;
        }
        self.forget(least);
        self.give(peer, bytes);
        Naming::Instead(least)
    }

    /// Whether a peer has a name.
    pub(crate) fn has(&self, peer: IpAddr) -> bool {
        self.peers.contains_key(&peer)
    }

    /// A peer was forgotten; its place is free.
    pub(crate) fn forget(&mut self, peer: IpAddr) {
        if self.peers.remove(&peer).is_some() {
            self.lost.push_back(peer);
        }
    }

    /// A peer that lost its name and is to be shown no longer, if there are too many.
    pub(crate) fn retire(&mut self) -> Option<IpAddr> {
        let shown = self.peers.len() + self.lost.len();
        if shown <= self.limit.saturating_mul(TURNS) {
            return None;
        }
        self.lost.pop_front()
    }

    fn give(&mut self, peer: IpAddr, bytes: u64) {
        self.lost.retain(|lost| *lost != peer);
        self.peers.insert(peer, bytes);
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
        assert_eq!(named.place(peer(1), 100), Naming::Own);
        assert_eq!(named.place(peer(2), 300), Naming::Own);
        assert_eq!(named.place(peer(3), 200), Naming::Other);
        assert_eq!(named.place(peer(3), 201), Naming::Instead(peer(1)));
        assert_eq!(named.place(peer(1), 150), Naming::Other);
        assert_eq!(named.place(peer(2), 301), Naming::Own);
    }

    #[test]
    fn the_peer_that_lost_its_name_first_is_dropped_first() {
        let mut named = Named::new(1);
        let mut retired = Vec::new();
        for n in 0..7 {
            assert_ne!(named.place(peer(n), 3_u64.pow(n.into())), Naming::Other);
            retired.extend(named.retire());
        }
        assert_eq!(retired, [peer(0), peer(1), peer(2)]);
        // It is back, and no longer one of those that lost theirs.
        assert_ne!(named.place(peer(3), 3_u64.pow(9)), Naming::Other);
        assert_eq!(named.retire(), None);
        assert_ne!(named.place(peer(9), 3_u64.pow(10)), Naming::Other);
        assert_eq!(named.retire(), Some(peer(4)));
    }

    #[test]
    fn new_peers_are_named_however_many_came_and_went() {
        let mut named = Named::new(2);
        for n in 0..200 {
            assert_eq!(named.place(peer(n), 10), Naming::Own);
            named.forget(peer(n));
            while named.retire().is_some() {}
        }
        assert_eq!((named.peers.len(), named.lost.len()), (0, 8));
    }
}
