//! Rate-limited log lines for recurring events: one when they begin, one a minute while they last,
//! one when they are over.
//!
//! A client, a peer or an unreachable database can cause the same line with each request. So every
//! line that a request can cause goes through a [`Spell`].

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::info;

/// Interval between two lines while the spell lasts. A spell without an event for this long is
/// over.
const LINE_INTERVAL: Duration = Duration::from_mins(1);
/// A spell without an event for this long is over if a success was reported.
const QUIET_AFTER_SUCCESS: Duration = Duration::from_secs(5);

/// A recurring event and its log lines.
#[derive(Debug)]
pub struct Spell {
    /// Message of the last line.
    over: &'static str,
    /// Lets [`is_well`](Self::is_well) return without the lock while no spell lasts.
    is_lasting: AtomicBool,
    lasting: Mutex<Option<Lasting>>,
}

/// A spell that has begun and is not over.
#[derive(Debug)]
struct Lasting {
    began: Instant,
    last: Instant,
    times: u64,
    /// When the last line was logged, and the number of events since.
    told: Instant,
    untold: u64,
}

impl Spell {
    /// Of an event that has not happened yet. `over` is the message of the last line.
    pub const fn new(over: &'static str) -> Self {
        Self {
            over,
            is_lasting: AtomicBool::new(false),
            lasting: Mutex::new(None),
        }
    }

    /// The event happened. Calls `line` if one is due, with the number of events since the last
    /// line.
    pub fn happened(&self, line: impl FnOnce(u64)) {
        let now = Instant::now();
        let mut lasting = self.lasting.lock();
        let ended = self.end(&mut lasting, now, LINE_INTERVAL);
        let times = match &mut *lasting {
            Some(lasting) => lasting.again(now),
            none => {
                *none = Some(Lasting::begun(now));
                self.is_lasting.store(true, Relaxed);
                Some(1)
            }
        };
        drop(lasting);
        // A single event was logged in full when it happened.
        if let Some(ended) = ended.filter(|ended| ended.times > 1) {
            self.tell(&ended);
        }
        if let Some(times) = times {
            line(times);
        }
    }

    /// A success: the spell is over, unless the event happened within the last few seconds. Costs
    /// one atomic load while no spell lasts.
    pub fn is_well(&self) {
        if self.is_lasting.load(Relaxed) {
            let ended = self.end(
                &mut self.lasting.lock(),
                Instant::now(),
                QUIET_AFTER_SUCCESS,
            );
            if let Some(ended) = ended {
                self.tell(&ended);
            }
        }
    }

    fn end(&self, lasting: &mut Option<Lasting>, now: Instant, quiet: Duration) -> Option<Lasting> {
        let ended = lasting.take_if(|lasting| now.duration_since(lasting.last) >= quiet)?;
        self.is_lasting.store(false, Relaxed);
        Some(ended)
    }

    fn tell(&self, ended: &Lasting) {
        let seconds = ended.last.duration_since(ended.began).as_secs();
        let Lasting { times, untold, .. } = ended;
        info!(times, untold, seconds, "{}", self.over);
    }
}

impl Lasting {
    fn begun(now: Instant) -> Self {
        Self {
            began: now,
            last: now,
            times: 1,
            told: now,
            untold: 0,
        }
    }

    /// Counts one more event; returns the count when a line is due.
    fn again(&mut self, now: Instant) -> Option<u64> {
        self.last = now;
        self.times += 1;
        self.untold += 1;
        if now.duration_since(self.told) < LINE_INTERVAL {
            return None;
        }
        self.told = now;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests;
