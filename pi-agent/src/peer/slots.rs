//! Upload slots, with a short queue in front of them, shared fairly among addresses.
//!
//! An address may take another slot while it has fewer than [`SHARE`] times those that stay free then
//! (dynamic thresholds, Choudhury and Hahne 1998). Alone it gets three quarters, and the last free slot goes
//! to one that has none. Where the queue is full, the address
//! that waits with the most loses its newest place to one that waits with fewer.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use daemon::serve::addresses::Grouping;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// How many slots an address may have for each that stays free.
const SHARE: usize = 3;

/// Bounds the uploads at once.
#[derive(Debug)]
pub(super) struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    size: usize,
    queue: usize,
    patience: Duration,
    grouping: Grouping,
    uses: Mutex<Uses>,
}

/// Who has slots, and who waits for one.
#[derive(Debug, Default)]
struct Uses {
    taken: usize,
    /// Slots of each address that has any.
    addresses: HashMap<IpAddr, usize>,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
}

/// One that waits. Dropping it tells it that there is no slot.
#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    slot: oneshot::Sender<Slot>,
}

/// The right to upload, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Shared>,
    address: IpAddr,
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

impl Slots {
    /// `size` slots, and a queue of `queue` in which nobody waits for longer than `patience`.
    pub(super) fn new(size: usize, queue: usize, patience: Duration, grouping: Grouping) -> Self {
        Self(Arc::new(Shared {
            size,
            queue,
            patience,
            grouping,
            uses: Mutex::default(),
        }))
    }

    /// A slot for an address.
    pub(super) async fn take(&self, address: IpAddr) -> Result<Slot, Busy> {
        let shared = &self.0;
        let address = shared.grouping.of(address);
        let granted = {
            let mut uses = shared.uses.lock();
            if uses.take(address, shared.size) {
                return Ok(shared.slot(address));
            }
            uses.wait(address, shared.queue)?
        };
        let granted = tokio::time::timeout(shared.patience, granted).await;
        granted.ok().and_then(Result::ok).ok_or(Busy)
    }

    pub(super) fn count(&self) -> SlotCount {
        SlotCount {
            taken: self.0.uses.lock().taken,
            size: self.0.size,
        }
    }
}

impl Shared {
    fn slot(self: &Arc<Self>, address: IpAddr) -> Slot {
        Slot {
            slots: Arc::clone(self),
            address,
        }
    }
}

impl Uses {
    /// Takes a slot of `size` for an address, if there is one and its share allows it.
    fn take(&mut self, address: IpAddr, size: usize) -> bool {
        let free = size.saturating_sub(self.taken);
        let has = self.addresses.get(&address).copied().unwrap_or_default();
        let stay_free = free.saturating_sub(1);
        if free == 0 || has > 0 && has >= stay_free.saturating_mul(SHARE) {
            return false;
        }
        self.taken += 1;
        self.addresses.insert(address, has + 1);
        true
    }

    fn give_back(&mut self, address: IpAddr) {
        self.taken -= 1;
        if let Some(has) = self.addresses.get_mut(&address) {
            *has -= 1;
            if *has == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    /// A place in a queue of `most`.
    fn wait(&mut self, address: IpAddr, most: usize) -> Result<oneshot::Receiver<Slot>, Busy> {
        self.waiting.retain(|waiting| !waiting.slot.is_closed());
        if self.waiting.len() >= most {
            self.make_room(address)?;
        }
        let (slot, granted) = oneshot::channel();
        self.waiting.push_back(Waiting { address, slot });
        Ok(granted)
    }

    /// Takes the newest place of the address that waits with the most, if `address` waits with fewer, also
    /// with the place that it gets.
    fn make_room(&mut self, address: IpAddr) -> Result<(), Busy> {
        let waits = |address| {
            let of = |waiting: &&Waiting| waiting.address == address;
            self.waiting.iter().filter(of).count()
        };
        let longest = self.waiting.iter().map(|waiting| waiting.address);
        let longest = longest.max_by_key(|address| waits(*address)).ok_or(Busy)?;
        if waits(longest) <= waits(address) + 1 {
            return Err(Busy);
        }
        let newest = |waiting: &Waiting| waiting.address == longest;
        let newest = self.waiting.iter().rposition(newest).ok_or(Busy)?;
        self.waiting.remove(newest);
        Ok(())
    }

    /// Takes slots for those that wait, the first first, and takes them out of the queue.
    fn grant(&mut self, size: usize) -> Vec<Waiting> {
        let mut granted = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.slot.is_closed() {
                continue;
            }
            if self.take(waiting.address, size) {
                granted.push(waiting);
            } else {
                self.waiting.push_back(waiting);
            }
        }
        granted
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let granted = {
            let mut uses = self.slots.uses.lock();
            uses.give_back(self.address);
            uses.grant(self.slots.size)
        };
        for Waiting { address, slot } in granted {
            // One that waits no longer gives it back.
            let _ = slot.send(self.slots.slot(address));
        }
    }
}

#[cfg(test)]
mod tests;
