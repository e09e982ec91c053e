//! Room for chunks while they come.
//!
//! A chunk that comes before its turn waits for others to come, which may wait for chunks on other
//! nodes. So it has room of its own: who is next never waits for room that waits for another node.

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Chunks in memory at the same time of those that are next. A peer sends a chunk once it has it
/// whole, so that one takes no longer than its bytes do; further ones wait in the sockets.
static NEXT: Semaphore = Semaphore::const_new(16);
/// The same of those that come before their turn.
static EARLY: Semaphore = Semaphore::const_new(8);
/// Buffers that are kept for the next chunks.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
const SPARES: usize = 4;
/// [`CHUNK`](crate::chunks::CHUNK) as the size of a buffer.
pub(super) const SIZE: usize = 1 << 20;

/// Room for a chunk.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) bytes: Vec<u8>,
    _permit: SemaphorePermit<'static>,
}

impl Room {
    /// For a chunk that is next, once there is some. The semaphore is never closed.
    pub(super) async fn for_next() -> Option<Self> {
        NEXT.acquire().await.ok().map(Self::new)
    }

    /// For a chunk that comes before its turn, if there is some.
    pub(super) fn for_early() -> Option<Self> {
        EARLY.try_acquire().ok().map(Self::new)
    }

    fn new(permit: SemaphorePermit<'static>) -> Self {
        let spare = SPARE.lock().pop();
        Self {
            bytes: spare.unwrap_or_else(|| vec![0; SIZE]),
            _permit: permit,
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut spare = SPARE.lock();
        if spare.len() < SPARES {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}
