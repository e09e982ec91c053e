//! Writes signs of life to the database, and reads those that other instances wrote.

use std::{sync::Arc, time::Duration};

use daemon::{clock::Clock, scope::Scope, telemetry};
use tracing::warn;

use crate::{
    nodes::Nodes,
    spaces::Spaces,
    store::{Stamp, Store, StoreError, Writer},
};

/// Rows that another instance stamped may become visible this much later than their stamp says.
const SLACK_MS: i64 = 10_000;

#[derive(Debug)]
pub(crate) struct Flusher {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) spaces: Arc<Spaces>,
    pub(crate) clock: Clock,
    pub(crate) writer: Writer,
    pub(crate) every: Duration,
}

/// Flushes until the scope drains, and once more then.
pub(crate) async fn run(flusher: Flusher, scope: Scope) {
    let mut since = flusher.now();
    loop {
        let last = tokio::select! {
            () = scope.draining() => true,
            () = tokio::time::sleep(flusher.every) => false,
        };
        match flusher.round(since).await {
            Ok(read) => since = read,
            Err(error) => {
                warn!(error = %telemetry::chain(&error), "signs of life are not shared");
            }
        }
        if last {
            return;
        }
    }
}

impl Flusher {
    fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX)
    }

    async fn round(&self, since: i64) -> Result<i64, StoreError> {
        let now = self.now();
        let seen = self.nodes.take_unwritten();
        if !seen.is_empty() {
            let stamp = Stamp {
                at: now,
                writer: self.writer,
            };
            if let Err(error) = self.store.touch(&seen, stamp).await {
                self.nodes.put_back(&seen);
                return Err(error);
            }
        }
        self.spaces.add(self.store.spaces().await?);
        let rows = self
            .store
            .nodes_of_others(since.saturating_sub(SLACK_MS), self.writer)
            .await?;
        self.nodes.merge(&rows);
        Ok(now)
    }
}
