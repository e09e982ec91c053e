//! Passes chunks on in their order, whichever source brings which, and in whatever order they come.

use tokio::sync::{Mutex, MutexGuard, watch};

use super::{pump::Pump, room::Room};
use crate::{chunks::start_of, datapath::write_all};

/// The way of several sources' chunks to one client.
pub(super) struct Ordered<'a, F> {
    /// The next byte that the client gets.
    next: watch::Sender<u64>,
    /// Only who is next takes it, and who wants to see that nobody has it.
    outlet: Mutex<Outlet<'a, F>>,
}

/// Where the next chunk goes.
pub(super) struct Outlet<'a, F> {
    pub(super) pump: Pump<'a, F>,
    /// Bytes that the client has got.
    moved: u64,
}

impl<'a, F: FnMut(u64) + Send> Ordered<'a, F> {
    /// From the byte at `at` on.
    pub(super) fn new(pump: Pump<'a, F>, at: u64) -> Self {
        Self {
            next: watch::Sender::new(at),
            outlet: Mutex::new(Outlet { pump, moved: 0 }),
        }
    }

    /// How many of the bytes of the chunk that begins at `start` the client has already, once it is
    /// that chunk's turn; with the way to the client.
    pub(super) async fn turn(&self, start: u64) -> (u64, MutexGuard<'_, Outlet<'a, F>>) {
        self.reaches(start).await;
        let outlet = self.outlet.lock().await;
        (self.next.borrow().saturating_sub(start), outlet)
    }

    /// Room for the chunk that begins at `start`.
    pub(super) async fn room(&self, start: u64) -> Option<Room> {
        if !self.is_next(start)
            && let Some(room) = Room::for_early()
        {
            return Some(room);
        }
        self.reaches(start).await;
        Room::for_next().await
    }

    /// Writes bytes that are next.
    pub(super) async fn write(
        &self,
        outlet: &mut Outlet<'a, F>,
        bytes: &[u8],
        end: u64,
    ) -> std::io::Result<()> {
        write_all(outlet.pump.client, bytes, outlet.pump.patience).await?;
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        (outlet.pump.moved)(count);
        outlet.moved += count;
        self.next.send_replace(end);
        Ok(())
    }

    /// Waits until the client gets its next chunk, or has none of a chunk in part.
    pub(super) async fn passed(&self) {
        let mut next = self.next.subscribe();
        // The sender lives as long as this.
        let _ = next.changed().await;
        self.settled().await;
    }

    /// Waits until no chunk is on its way to the client.
    pub(super) async fn settled(&self) {
        drop(self.outlet.lock().await);
    }

    /// How many bytes the client has got.
    pub(super) fn moved(self) -> u64 {
        self.outlet.into_inner().moved
    }

    /// Waits until the chunk that begins at `start` is next.
    async fn reaches(&self, start: u64) {
        let mut next = self.next.subscribe();
        // As above.
        let _ = next.wait_for(|next| start_of(*next) == start).await;
    }

    fn is_next(&self, start: u64) -> bool {
        start_of(*self.next.borrow()) == start
    }
}
