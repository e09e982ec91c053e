//! Upload slots, with a short queue in front of them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use daemon::serve::addresses::network;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Entries of addresses that take no slot any more are dropped when there are as many.
const TIDY: usize = 256;

/// Bounds the uploads at once.
#[derive(Debug)]
pub(super) struct Slots {
    size: usize,
    free: Arc<Semaphore>,
    shares: Shares,
    queue: Semaphore,
    patience: Duration,
}

/// The right to upload, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _slot: OwnedSemaphorePermit,
    _share: OwnedSemaphorePermit,
}

/// How many slots there are and how many are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotCount {
    /// Uploads in flight.
    pub taken: usize,
    /// Uploads that are taken at once.
    pub size: usize,
}

/// All slots are taken, and the queue is full or the wait timed out.
#[derive(Debug)]
pub(super) struct Busy;

/// What each address may still take.
#[derive(Debug)]
struct Shares {
    most: usize,
    addresses: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

impl Slots {
    /// A number of slots, of which one address gets three quarters at most, so that others always
    /// have some.
    pub(super) fn new(size: usize, queue: usize, patience: Duration) -> Self {
        Self {
            size,
            free: Arc::new(Semaphore::new(size)),
            shares: Shares {
                most: size - size / 4,
                addresses: Mutex::default(),
            },
            queue: Semaphore::new(queue),
            patience,
        }
    }

    /// A slot for an address.
    pub(super) async fn take(&self, address: IpAddr) -> Result<Slot, Busy> {
        let share = self.shares.of(address);
        if let Ok(share) = Arc::clone(&share).try_acquire_owned()
            && let Ok(slot) = Arc::clone(&self.free).try_acquire_owned()
        {
            return Ok(Slot {
                _slot: slot,
                _share: share,
            });
        }
        let Ok(_place) = self.queue.try_acquire() else {
            return Err(Busy);
        };
        let both = async {
            let share = share.acquire_owned().await.ok()?;
            let slot = Arc::clone(&self.free).acquire_owned().await.ok()?;
            Some(Slot {
                _slot: slot,
                _share: share,
            })
        };
        let taken = tokio::time::timeout(self.patience, both).await;
        taken.ok().flatten().ok_or(Busy)
    }

    pub(super) fn count(&self) -> SlotCount {
        SlotCount {
            taken: self.size.saturating_sub(self.free.available_permits()),
            size: self.size,
        }
    }
}

impl Shares {
    fn of(&self, address: IpAddr) -> Arc<Semaphore> {
        let address = network(address);
        let mut addresses = self.addresses.lock();
        if let Some(share) = addresses.get(&address).and_then(Weak::upgrade) {
            return share;
        }
        if addresses.len() >= TIDY {
            addresses.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(self.most));
        addresses.insert(address, Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_leaves_slots_for_others() {
        let slots = Slots::new(32, 1, Duration::from_millis(500));
        let [greedy, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let mut taken = Vec::new();
        while let Ok(slot) = slots.take(greedy).await {
            taken.push(slot);
        }
        assert_eq!(taken.len(), 24);
        let others: Vec<_> = [slots.take(other).await, slots.take(other).await].into();
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(slots.count().taken, 26);
        // What it gives back it may take again.
        taken.pop();
        assert!(slots.take(greedy).await.is_ok());
    }
}
