//! Shares measurements with the other instances, through the database.

use std::{collections::HashMap, sync::Arc, time::Duration};

use daemon::{
    clock::{Clock, as_ms},
    metric::Metric,
    scope::Scope,
    telemetry::chain,
};
use metrics::counter;
use tokio::time::MissedTickBehavior;
use topology::{RackId, Row, Sums};
use tracing::{debug, info, warn};

use super::{Bandwidth, Census, export::Export};
use crate::{
    databases::Databases,
    store::{BandwidthRow, Stamp, Store, StoreError, Writer},
    topology_file::Current,
};

pub(super) const ROUNDS: Metric = Metric::counter(
    "piccolo_server_bandwidth_shares_total",
    &[("outcome", "`good` or `bad`")],
    "Exchanges of what was learned of bandwidth with the other instances.",
);

/// Between two exchanges.
const EVERY: Duration = Duration::from_secs(5);
/// Half-lives after which a row is worth nothing, and is removed.
const HALF_LIVES: u32 = 12;
/// Rounds from one removal to the next.
const SWEEP: u32 = 60;

/// Exchanges measurements, and counts the exchanges.
#[derive(Debug)]
pub(super) struct Sharer {
    pub(super) bandwidth: Arc<Bandwidth>,
    pub(super) current: Arc<Current>,
    pub(super) databases: Arc<Databases>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) writer: Writer,
}

impl Sharer {
    /// Takes in what the database knows from before. A database that is away is no reason not to
    /// start: the next rounds try again.
    pub(super) async fn restore(&self) {
        match self.read().await {
            Ok(pairs) => debug!(pairs, "bandwidth known from before"),
            Err(error) => warn!(error = %chain(&error), "bandwidth from before is not known yet"),
        }
    }

    /// Exchanges until the scope drains, and once more then.
    pub(super) async fn run(self, scope: Scope) {
        let mut export = Export::default();
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_good = true;
        let mut round = 0_u32;
        loop {
            let last = tokio::select! {
                () = scope.draining() => true,
                _ = every.tick() => false,
            };
            let result = self.exchange(round.is_multiple_of(SWEEP)).await;
            round = round.wrapping_add(1);
            let outcome = if result.is_ok() { "good" } else { "bad" };
            counter!(ROUNDS.name, "outcome" => outcome).increment(1);
            if let Err(error) = &result
                && was_good
            {
                warn!(error = %chain(error), "what is learned of bandwidth is not shared");
            }
            if result.is_ok() && !was_good {
                info!("what is learned of bandwidth is shared again");
            }
            was_good = result.is_ok();
            if last {
                return;
            }
            let topology = self.current.get();
            let census = Census::take(&self.databases, &topology, self.clock.now_ms());
            export.update(self.clock.now(), &topology, &self.bandwidth, &census);
        }
    }

    async fn exchange(&self, sweep: bool) -> Result<(), StoreError> {
        let stamp = Stamp {
            at: self.clock.now_ms(),
            writer: self.writer,
        };
        let unshared = self.bandwidth.take_unshared();
        if !unshared.is_empty() {
            let rows = self.rows(&unshared);
            if let Err(error) = self.store.share_bandwidth(&rows, stamp).await {
                self.bandwidth.put_back(unshared);
                return Err(error);
            }
        }
        if sweep {
            let half_life = self.current.get().ranking().half_life;
            let worthless = half_life.saturating_mul(HALF_LIVES);
            let worthless = as_ms(worthless);
            let before = stamp.at.saturating_sub(worthless);
            self.store.forget_bandwidth(before).await?;
        }
        self.read().await?;
        Ok(())
    }

    /// Those of this instance's own sums that have changed.
    fn rows(&self, unshared: &[(RackId, RackId)]) -> Vec<BandwidthRow> {
        let topology = self.current.get();
        let own = self.bandwidth.estimates().rows(self.clock.now(), &topology);
        let own: HashMap<_, _> = own
            .iter()
            .map(|row| ((row.from, row.to), row.sums))
            .collect();
        let changed = unshared.iter().filter_map(|pair| {
            let sums = own.get(pair)?;
            Some(row(*pair, sums))
        });
        changed.collect()
    }

    async fn read(&self) -> Result<usize, StoreError> {
        let rows = self.store.bandwidth_of_others(self.writer).await?;
        let now = self.clock.now_ms();
        let rows = rows.iter().map(|(row, written)| {
            let age = u64::try_from(now.saturating_sub(*written)).unwrap_or(0);
            (shared(row), Duration::from_millis(age))
        });
        let rows: Vec<_> = rows.collect();
        Ok(self.bandwidth.share(self.clock.now(), rows))
    }
}

fn row((from, to): (RackId, RackId), sums: &Sums) -> BandwidthRow {
    BandwidthRow {
        from: from.to_string(),
        to: to.to_string(),
        weight: millionths(sums.weight),
        log_rate: millionths(sums.log_rate),
        bytes: millionths(sums.rated_bytes / 1e6),
        busy_us: millionths(sums.busy_seconds),
    }
}

fn shared(row: &BandwidthRow) -> Row {
    Row {
        from: RackId::from_name(&row.from),
        to: RackId::from_name(&row.to),
        sums: Sums {
            weight: whole(row.weight),
            log_rate: whole(row.log_rate),
            rated_bytes: whole(row.bytes) * 1e6,
            busy_seconds: whole(row.busy_us),
        },
    }
}

/// The databases keep whole numbers; a millionth of a sample, a byte and a microsecond are exact
/// enough.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a float to a whole number: the conversion saturates"
)]
fn millionths(number: f64) -> i64 {
    (number * 1e6).round() as i64
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a whole number to a float, which has no other conversion"
)]
fn whole(millionths: i64) -> f64 {
    millionths as f64 / 1e6
}

impl Bandwidth {
    fn take_unshared(&self) -> Vec<(RackId, RackId)> {
        let mut unshared = self.unshared.lock();
        unshared.drain().collect()
    }

    fn put_back(&self, pairs: Vec<(RackId, RackId)>) {
        let mut unshared = self.unshared.lock();
        unshared.extend(pairs);
    }

    fn share(&self, now: Duration, rows: Vec<(Row, Duration)>) -> usize {
        let topology = self.current.get();
        let mut estimates = self.estimates.write();
        estimates.share(now, &topology, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_survive_the_database() {
        let sums = Sums {
            weight: 2.5,
            log_rate: 50.25,
            rated_bytes: 123_456_789.0,
            busy_seconds: 3.75,
        };
        let pair = (RackId::from_name("10.0.1.0/24"), RackId::from_name("r2"));
        let back = shared(&row(pair, &sums));
        assert_eq!((back.from, back.to), pair);
        assert_eq!(back.sums, sums);
    }
}
