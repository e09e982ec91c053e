//! Upload slots, with a short queue in front of them.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds the uploads at once.
#[derive(Debug)]
pub(super) struct Slots {
    size: usize,
    free: Arc<Semaphore>,
    queue: Semaphore,
    patience: Duration,
}

/// How many slots there are and how many are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotCount {
    /// Uploads under way.
    pub taken: usize,
    /// Uploads that are taken at once.
    pub size: usize,
}

/// All slots are taken, and so is the queue, or the time in it was up.
#[derive(Debug)]
pub(super) struct Busy;

impl Slots {
    pub(super) fn new(size: usize, queue: usize, patience: Duration) -> Self {
        Self {
            size,
            free: Arc::new(Semaphore::new(size)),
            queue: Semaphore::new(queue),
            patience,
        }
    }

    /// A slot, held until the permit is dropped.
    pub(super) async fn take(&self) -> Result<OwnedSemaphorePermit, Busy> {
        if let Ok(slot) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(slot);
        }
        let Ok(_place) = self.queue.try_acquire() else {
            return Err(Busy);
        };
        let slot = Arc::clone(&self.free).acquire_owned();
        match tokio::time::timeout(self.patience, slot).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(Busy),
        }
    }

    pub(super) fn count(&self) -> SlotCount {
        SlotCount {
            taken: self.size.saturating_sub(self.free.available_permits()),
            size: self.size,
        }
    }
}
