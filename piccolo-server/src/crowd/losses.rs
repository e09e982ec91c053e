//! Permits that were lost, by the addresses that announced their holders: an address can announce many
//! nodes, and each could hold a crowd up for as long as a permit lasts.

use std::{collections::HashMap, net::IpAddr};

use parking_lot::Mutex;
use piccolo_api::Holder;
use swarm::{Change, Event, Key};

/// As many permits the nodes of one address may lose for a key; then they get none in their turn.
const MOST: usize = 2;
/// Losses that are remembered of a key.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Who has a permit now, and which address announced it.
    given: HashMap<(Key, Holder), IpAddr>,
    /// Of each key, the addresses whose nodes lost one.
    lost: HashMap<Key, Vec<IpAddr>>,
}

impl Losses {
    /// A node that `source` announced has a permit.
    pub(super) fn given(&self, key: Key, holder: Holder, source: IpAddr) {
        self.0.lock().given.insert((key, holder), source);
    }

    /// Whether nodes that `source` announced have lost as many permits for the key as they may.
    pub(super) fn are_too_many(&self, key: Key, source: IpAddr) -> bool {
        let table = self.0.lock();
        let lost = table.lost.get(&key);
        lost.is_some_and(|lost| lost.iter().filter(|by| **by == source).count() >= MOST)
    }

    pub(super) fn note(&self, change: &Change<Holder>) {
        let key = change.key;
        let mut table = self.0.lock();
        match (change.event, change.node) {
            (Event::Lost, Some(holder)) => {
                if let Some(source) = table.given.remove(&(key, holder)) {
                    let lost = table.lost.entry(key).or_default();
                    if lost.len() < KEPT {
                        lost.push(source);
                    }
                }
            }
            (Event::Returned, Some(holder)) => {
                table.given.remove(&(key, holder));
            }
            (Event::Settled, _) => {
                table.lost.remove(&key);
                table.given.retain(|(of, _), _| *of != key);
            }
            _ => {}
        }
    }
}
