//! How an open-ended range is split into parts.
//!
//! A client often cancels an open-ended range, and the bytes in flight are wasted. So it is fetched
//! in parts that start small, and not beyond the point where it will probably be cancelled.

use std::time::Duration;

use tokio::{net::TcpStream, time::timeout};

use super::turn::Flight;

/// Size of the first part, and of the largest.
const FIRST: u64 = 1 << 20;
const LAST: u64 = 8 << 20;
/// How long a client gets to cancel where its next range begins. It does so once it has read the
/// bytes in flight, which takes seconds on a node with a busy disk.
const GRACE: Duration = Duration::from_secs(5);
/// How long it is given where the end is only inferred from the length of its other ranges.
const GRACE_INFERRED: Duration = Duration::from_secs(1);
/// How long the other ranges of a client may be behind the first, which begins at the first byte.
const COMPANY: Duration = Duration::from_millis(200);

/// Where the parts of one range end.
#[derive(Debug)]
pub(crate) struct Parts {
    start: u64,
    size: u64,
    /// The client went on where it was expected to break off.
    goes_on: bool,
    /// No other range came in time.
    alone: bool,
}

impl Parts {
    /// Cuts up the range that begins at `start`.
    pub(crate) fn new(start: u64) -> Self {
        Self {
            start,
            size: FIRST / 2,
            goes_on: false,
            alone: false,
        }
    }

    /// The end of the part that begins at `at`.
    pub(crate) fn next(&mut self, at: u64, flight: &Flight) -> u64 {
        self.size = self.size.saturating_mul(2).min(LAST);
        let end = at.saturating_add(self.size);
        match self.limit(flight) {
            Some(limit) if limit > at => end.min(limit),
            Some(_) | None => end,
        }
    }

    /// Whether the client still waits for the byte at `at`.
    pub(crate) async fn is_wanted(&mut self, at: u64, flight: &Flight, client: &TcpStream) -> bool {
        // A client requests the whole as a range only as the first of several.
        if self.start == 0 && !self.alone && self.limit(flight).is_none() {
            self.alone = timeout(COMPANY, flight.company()).await.is_err();
        }
        let expected = self.limit(flight).is_some_and(|limit| limit <= at);
        let wait = match (expected, flight.next_start(self.start)) {
            (false, _) => Duration::ZERO,
            (true, Some(_)) => GRACE,
            (true, None) => GRACE_INFERRED,
        };
        if let Ok(Ok(0) | Err(_)) = timeout(wait, client.peek(&mut [0])).await {
            return false;
        }
        if expected {
            self.goes_on = true;
            // It may yet break off: no more than the first part is wasted then.
            self.size = FIRST / 2;
        }
        true
    }

    fn limit(&self, flight: &Flight) -> Option<u64> {
        if self.goes_on {
            return None;
        }
        flight.ends(self.start)
    }
}
