//! The racks of peers, as the server names them: for the tables that people read.

use std::{net::IpAddr, num::NonZeroUsize};

use lru::LruCache;
use parking_lot::Mutex;
use piccolo_api::Peer;

/// Peers whose rack is remembered; the one that was named longest ago is forgotten first.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");

#[derive(Debug)]
pub(super) struct Racks(Mutex<LruCache<IpAddr, String>>);

impl Default for Racks {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CAPACITY)))
    }
}

impl Racks {
    pub(super) fn learn(&self, peers: &[Peer]) {
        let mut racks = self.0.lock();
        for peer in peers.iter().filter(|peer| !peer.rack.is_empty()) {
            let ip = peer.addr.ip();
            let known = racks.get(&ip).is_some_and(|rack| *rack == peer.rack);
            if !known {
                racks.put(ip, peer.rack.clone());
            }
        }
    }

    pub(super) fn get(&self, peer: IpAddr) -> Option<String> {
        self.0.lock().peek(&peer).cloned()
    }
}
