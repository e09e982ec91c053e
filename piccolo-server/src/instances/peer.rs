//! Another instance: whether it may be called, and since when it is in back-off.

use std::{net::SocketAddr, time::Duration};

use daemon::retry::{Admission, Breaker};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

use super::{Tenure, number};
use crate::store::InstanceRow;

/// Calls to one instance in flight.
const MAX_IN_FLIGHT: usize = 256;
/// How long an instance that failed is left alone, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// A node with a permit reports it within this time: nodes report each second.
const PERMIT_REPORTED_WITHIN: Duration = Duration::from_millis(1500);
/// A stand-in idle for this long starts with empty state.
const STAND_IN_IDLE: Duration = Duration::from_secs(5);

/// Another instance.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(super) row: InstanceRow,
    pub(super) number: u64,
    pub(super) turns: Semaphore,
    breaker: Mutex<Breaker>,
    failed: Mutex<Option<Instant>>,
    stand_in: Mutex<Option<StandIn>>,
}

/// This instance decides for another one, which does not answer.
#[derive(Debug, Clone, Copy)]
struct StandIn {
    since: Instant,
    last: Instant,
}

impl Peer {
    pub(super) fn new(row: InstanceRow) -> Self {
        Self {
            row,
            number: number(row.address),
            turns: Semaphore::new(MAX_IN_FLIGHT),
            breaker: Mutex::new(Breaker::new(BACK_OFF.0, BACK_OFF.1)),
            failed: Mutex::default(),
            stand_in: Mutex::default(),
        }
    }

    /// Where it is reached.
    pub(crate) fn address(&self) -> SocketAddr {
        self.row.address
    }

    /// Whether it may be called now; one that failed is probed from time to time.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.breaker.lock().admit(now) != Admission::Open
    }

    /// Whether it is left alone now.
    pub(super) fn is_left_alone(&self, now: Instant) -> bool {
        self.breaker.lock().is_open(now)
    }

    pub(super) fn answered(&self) {
        self.breaker.lock().succeeded();
        *self.stand_in.lock() = None;
    }

    /// A call failed that was begun at `began`. Calls that were in flight together are one failure.
    pub(super) fn failed(&self, began: Instant, now: Instant) {
        let last = self.failed.lock().replace(now);
        if last.is_none_or(|last| last < began) {
            // There is one caller, so no jitter.
            self.breaker.lock().failed(now, 1.0);
        }
    }

    /// This instance decides in its place, for so long.
    pub(super) fn stood_in_for(&self, now: Instant) -> Tenure {
        let mut stand_in = self.stand_in.lock();
        let lasting = stand_in.filter(|lasting| lasting.lasts(now));
        let since = lasting.map_or(now, |lasting| lasting.since);
        *stand_in = Some(StandIn { since, last: now });
        Tenure::until(since + PERMIT_REPORTED_WITHIN, now)
    }

    /// Whether this instance recently decided in its place.
    pub(super) fn is_stood_in_for(&self, now: Instant) -> bool {
        self.stand_in
            .lock()
            .is_some_and(|lasting| lasting.lasts(now))
    }
}

impl StandIn {
    fn lasts(self, now: Instant) -> bool {
        now.duration_since(self.last) < STAND_IN_IDLE
    }
}
