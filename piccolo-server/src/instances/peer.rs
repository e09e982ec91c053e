//! Another instance: whether it may be asked, and since when it is not.

use std::{net::SocketAddr, time::Duration};

use daemon::retry::{Admission, Breaker};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

use super::{Tenure, number};
use crate::store::InstanceRow;

/// Calls to one instance in flight.
const IN_FLIGHT: usize = 256;
/// How long an instance that failed is left alone, at first and at most.
const ALONE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// A node with a permit says within this time that it has one: reports come each second.
const HEARD: Duration = Duration::from_millis(1500);
/// Who has not decided in an instance's place for so long begins anew when it does.
const FORGOTTEN: Duration = Duration::from_secs(5);

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
            turns: Semaphore::new(IN_FLIGHT),
            breaker: Mutex::new(Breaker::new(ALONE.0, ALONE.1)),
            failed: Mutex::default(),
            stand_in: Mutex::default(),
        }
    }

    /// Where it is reached.
    pub(crate) fn address(&self) -> SocketAddr {
        self.row.address
    }

    /// Whether it may be asked now; one that failed is tried again from time to time.
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
        Tenure::until(since + HEARD, now)
    }

    /// Whether this instance has decided in its place of late.
    pub(super) fn is_stood_in_for(&self, now: Instant) -> bool {
        self.stand_in
            .lock()
            .is_some_and(|lasting| lasting.lasts(now))
    }
}

impl StandIn {
    fn lasts(self, now: Instant) -> bool {
        now.duration_since(self.last) < FORGOTTEN
    }
}
