//! The task that announces this instance, and watches the others.

use std::{sync::Arc, time::Duration};

use daemon::{scope::Scope, telemetry::chain};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};

use super::{Instances, looks::Looks};
use crate::store::{InstanceRow, Store, StoreError};

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(1);
/// After so long without a round the others have taken this instance for gone.
const MISSED: Duration = Duration::from_secs(5);
/// How long the last list stays in force while the database is away. The instances still reach each
/// other then, and one that does not answer is passed over.
const KEEP: Duration = Duration::from_mins(1);

/// Announces an instance.
#[derive(Debug)]
pub(super) struct Beater {
    instances: Arc<Instances>,
    store: Arc<dyn Store>,
    row: InstanceRow,
    looks: Looks,
    /// The last round that the database took part in.
    last: Option<Instant>,
    is_away: bool,
}

impl Beater {
    pub(super) fn new(
        instances: Arc<Instances>,
        store: Arc<dyn Store>,
        row: InstanceRow,
        looks: Looks,
    ) -> Self {
        Self {
            instances,
            store,
            row,
            looks,
            last: None,
            is_away: false,
        }
    }

    /// Rounds until the scope drains; then the row is removed, so that the others stop asking.
    pub(super) async fn run(mut self, scope: Scope) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = scope.draining() => break,
                _ = every.tick() => self.round().await,
            }
        }
        if let Err(error) = self.store.forget_instance(self.row.id, i64::MAX).await {
            debug!(error = %chain(&error), "the others find out by themselves that this instance is gone");
        }
    }

    /// Writes this instance's row, and reads the others'.
    pub(super) async fn round(&mut self) {
        match self.exchange().await {
            Ok(rows) => self.seen(&rows).await,
            Err(error) => self.missed(&error),
        }
    }

    async fn exchange(&self) -> Result<Vec<InstanceRow>, StoreError> {
        self.store.beat(&self.row).await?;
        self.store.instances().await
    }

    async fn seen(&mut self, rows: &[InstanceRow]) {
        let now = Instant::now();
        let seen = self.looks.look(rows);
        if self
            .last
            .is_none_or(|last| now.duration_since(last) > MISSED)
        {
            self.instances.begin(now);
        }
        self.last = Some(now);
        if std::mem::take(&mut self.is_away) {
            info!("the instances know of each other again");
        }
        self.instances.enter(&seen.live, now);
        for old in seen.old {
            if let Err(error) = self.store.forget_instance(old.id, old.beat).await {
                debug!(error = %chain(&error), "the row of an instance that is gone stays");
            }
        }
    }

    fn missed(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.is_away, true) {
            warn!(error = %chain(error), "the instances do not hear of each other");
        }
        let now = Instant::now();
        if self.last.is_none_or(|last| now.duration_since(last) > KEEP) {
            self.instances.enter(&[], now);
        }
    }
}
