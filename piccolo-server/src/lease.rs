//! Work that one instance at a time does for all.

use std::sync::Arc;

use daemon::{clock::Clock, telemetry};
use tracing::debug;

use crate::store::{Stamp, Store, StoreError, Writer};

/// The right to do some work, which one instance has at a time. It ends by itself when that instance
/// dies.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) writer: Writer,
    /// The work.
    pub(crate) name: &'static str,
    /// How long it lasts, in milliseconds.
    pub(crate) lasts_ms: i64,
}

impl Lease {
    /// Takes it, or has it for longer. False where another instance has it.
    pub(crate) async fn take(&self) -> Result<bool, StoreError> {
        let now = self.clock.now_ms();
        self.until(now, now.saturating_add(self.lasts_ms)).await
    }

    /// Another instance need not wait for its end.
    pub(crate) async fn give_back(&self) {
        if let Err(error) = self.until(self.clock.now_ms(), 0).await {
            debug!(error = %telemetry::chain(&error), "the lease was not given back");
        }
    }

    async fn until(&self, now: i64, at: i64) -> Result<bool, StoreError> {
        let until = Stamp {
            at,
            writer: self.writer,
        };
        self.store.lease(self.name, now, until).await
    }
}
