//! The racks of peers, as the server names them: for the tables that people read.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use piccolo_api::Peer;

/// Peers whose rack is remembered.
const CAPACITY: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct Racks(Mutex<HashMap<IpAddr, String>>);

impl Racks {
    pub(super) fn learn(&self, peers: &[Peer]) {
        let mut racks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for peer in peers.iter().filter(|peer| !peer.rack.is_empty()) {
            let ip = peer.addr.ip();
            let known = racks.get(&ip).is_some_and(|rack| *rack == peer.rack);
            if !known && racks.len() < CAPACITY {
                racks.insert(ip, peer.rack.clone());
            }
        }
    }

    pub(super) fn get(&self, peer: IpAddr) -> Option<String> {
        let racks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        racks.get(&peer).cloned()
    }
}
