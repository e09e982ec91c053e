//! The bounded number of connections of a listener, and which of them makes room for another one.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::addresses::{Addresses, ConnectionSlot, Grouping};

/// How long a new connection waits for the place of one that is evicted.
const EVICTION: Duration = Duration::from_millis(80);
/// How many are told to make room for one.
const EVICTIONS: usize = 3;

/// The places of a listener. When all are taken, a new connection evicts the one that has waited
/// longest for a request. When none waits, it gets one of a few spare places. Where an address has a
/// bound of its own, it may not have more than are free or idle either, so that few addresses cannot take all.
#[derive(Debug, Clone)]
pub struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connections: usize,
    regular: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    addresses: Addresses,
    per_address: usize,
    waiting: Mutex<WaitingList>,
}

/// Connections that wait for a request, the one that has waited longest first.
#[derive(Debug, Default)]
struct WaitingList {
    next: u64,
    connections: BTreeMap<u64, Arc<Notify>>,
}

/// The place of one connection. Dropping it frees the place.
#[derive(Debug)]
pub struct ConnectionPlace {
    places: Arc<Shared>,
    evicted: Arc<Notify>,
    /// The key in the waiting list, while it waits for a request.
    waits: Mutex<Option<u64>>,
    is_spare: bool,
    _permit: OwnedSemaphorePermit,
    _slot: ConnectionSlot,
}

/// Why a connection has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Its address has as many as it may have.
    Address,
    /// All places are taken by connections whose requests are being answered.
    All,
}

impl Places {
    /// Places for `regular` connections and for `spare` more, at most `per_address` of each address.
    pub fn new(regular: usize, spare: usize, per_address: usize) -> Self {
        Self::with(regular, spare, per_address, Grouping::default())
    }

    /// The same, where `grouping` says which addresses count as one.
    pub fn with(regular: usize, spare: usize, per_address: usize, grouping: Grouping) -> Self {
        Self(Arc::new(Shared {
            connections: regular,
            regular: Arc::new(Semaphore::new(regular)),
            spare: Arc::new(Semaphore::new(spare)),
            addresses: Addresses::new(grouping),
            per_address,
            waiting: Mutex::default(),
        }))
    }

    /// A place for a connection of that address, which waits for a request at first.
    ///
    /// # Errors
    /// When the address has too many connections, or no place becomes free.
    pub async fn take(&self, address: IpAddr) -> Result<ConnectionPlace, Full> {
        let shared = &self.0;
        let slot = shared.addresses.take(address, self.share());
        let slot = slot.ok_or(Full::Address)?;
        let (permit, is_spare) = match Arc::clone(&shared.regular).try_acquire_owned() {
            Ok(permit) => (permit, false),
            Err(_) => self.make_room().await.ok_or(Full::All)?,
        };
        let place = ConnectionPlace {
            places: Arc::clone(shared),
            evicted: Arc::default(),
            waits: Mutex::default(),
            is_spare,
            _permit: permit,
            _slot: slot,
        };
        place.waits();
        Ok(place)
    }

    /// How many connections the bound allows now for which there was no place.
    pub(super) fn most(&self, full: Full) -> usize {
        match full {
            Full::Address => self.share(),
            Full::All => self.0.connections,
        }
    }

    /// How many connections an address may have now.
    fn share(&self) -> usize {
        let shared = &self.0;
        // With a larger bound than this, one address is meant to have most of them.
        if shared.per_address > shared.connections / 2 {
            return shared.per_address;
        }
        // Those that wait for a request make room.
        let free = shared.regular.available_permits() + shared.waiting.lock().connections.len();
        // The first of an address has a place before others have two.
        shared.per_address.min(free.max(1))
    }

    async fn make_room(&self) -> Option<(OwnedSemaphorePermit, bool)> {
        let shared = &self.0;
        for _ in 0..EVICTIONS {
            if !shared.waiting.lock().evict() {
                break;
            }
            let regular = Arc::clone(&shared.regular).acquire_owned();
            if let Ok(Ok(permit)) = timeout(EVICTION, regular).await {
                return Some((permit, false));
            }
            // Its request came at the same moment.
        }
        let spare = Arc::clone(&shared.spare).try_acquire_owned();
        Some((spare.ok()?, true))
    }
}

impl WaitingList {
    /// Tells one to end; false where none waits.
    fn evict(&mut self) -> bool {
        let Some((_, evicted)) = self.connections.pop_first() else {
            return false;
        };
        evicted.notify_one();
        true
    }
}

impl ConnectionPlace {
    /// Whether all regular places are taken, so that only what is cheap should be answered.
    pub fn is_spare(&self) -> bool {
        self.is_spare
    }

    /// The connection waits for a request from now on, and may be evicted. One with a spare place is
    /// not: its end frees no regular place.
    pub fn waits(&self) {
        if self.is_spare {
            return;
        }
        let mut waits = self.waits.lock();
        if waits.is_none() {
            let mut list = self.places.waiting.lock();
            let key = list.next;
            list.next += 1;
            list.connections.insert(key, Arc::clone(&self.evicted));
            *waits = Some(key);
        }
    }

    /// A request of the connection is being answered. False if it was evicted already.
    pub fn answers(&self) -> bool {
        match self.waits.lock().take() {
            Some(key) => self
                .places
                .waiting
                .lock()
                .connections
                .remove(&key)
                .is_some(),
            None => true,
        }
    }

    /// Returns when the connection is to make room for another one.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.answers();
    }
}

#[cfg(test)]
mod tests;
