//! Permits that were lost, by the addresses from which their holders called: an address can announce many
//! nodes, and each could hold a crowd up for as long as a permit lasts.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use daemon::serve::network;
use parking_lot::Mutex;
use piccolo_api::Holder;
use swarm::{Change, Event, Key};

/// As many permits the nodes of one address may lose for a key; then they get none in their turn.
const MOST: usize = 2;
/// The same for an IPv6 network of 64 bits, which may be a whole cluster.
const MOST_OF_NETWORK: usize = 8;
/// Losses that are remembered of a key.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<HashMap<Key, OfKey>>);

#[derive(Debug, Default)]
struct OfKey {
    /// Who has a permit now, and the address from which it called.
    given: HashMap<Holder, IpAddr>,
    /// The addresses whose nodes lost one.
    lost: Vec<IpAddr>,
}

impl Losses {
    /// A node that calls from `source` has a permit.
    pub(super) fn given(&self, key: Key, holder: Holder, source: IpAddr) {
        let mut keys = self.0.lock();
        keys.entry(key).or_default().given.insert(holder, source);
    }

    /// Whether nodes that call from `source` have lost as many permits for the key as they may.
    pub(super) fn are_too_many(&self, key: Key, source: IpAddr) -> bool {
        let keys = self.0.lock();
        let Some(of) = keys.get(&key) else {
            return false;
        };
        let own = of.lost.iter().filter(|by| **by == source).count();
        let net = network(source);
        let of_network = of.lost.iter().filter(|by| network(**by) == net).count();
        own >= MOST || of_network >= MOST_OF_NETWORK
    }

    pub(super) fn note(&self, change: &Change<Holder>) {
        let mut keys = self.0.lock();
        let (Some(of), Some(holder)) = (keys.get_mut(&change.key), change.node) else {
            return;
        };
        match change.event {
            Event::Lost => {
                if let Some(source) = of.given.remove(&holder)
                    && of.lost.len() < KEPT
                {
                    of.lost.push(source);
                }
            }
            Event::Returned => {
                of.given.remove(&holder);
            }
            _ => {}
        }
    }

    /// Forgets all keys but those that are wanted.
    pub(super) fn keep(&self, wanted: impl Iterator<Item = Key>) {
        let mut keys = self.0.lock();
        if !keys.is_empty() {
            let wanted: HashSet<_> = wanted.collect();
            keys.retain(|key, _| wanted.contains(key));
        }
    }
}
