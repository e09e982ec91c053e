//! Lines about what happens again and again: one when it begins, one a minute while it lasts, one
//! when it is over.
//!
//! A client, a peer or a database that is away can bring the same line about with each request. So
//! whatever a request can make appear is told of through a [`Spell`].

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;
use tracing::info;

/// Between two lines while it lasts. What has not happened for so long is over.
const MINUTE: Duration = Duration::from_mins(1);
/// It is over when it has not happened for so long, and all is well.
const WELL: Duration = Duration::from_secs(5);

/// Something that happens again and again, and the lines about it.
#[derive(Debug)]
pub struct Spell {
    /// What the line at the end says.
    over: &'static str,
    /// So that nobody waits for the others to say that all is well, as long as it is.
    is_lasting: AtomicBool,
    lasting: Mutex<Option<Lasting>>,
}

/// What has begun and is not over.
#[derive(Debug)]
struct Lasting {
    began: Instant,
    last: Instant,
    times: u64,
    /// When the last line was, and how often it happened since.
    told: Instant,
    untold: u64,
}

impl Spell {
    /// Of something that has not happened yet. `over` is what the line at its end says.
    pub const fn new(over: &'static str) -> Self {
        Self {
            over,
            is_lasting: AtomicBool::new(false),
            lasting: Mutex::new(None),
        }
    }

    /// It happened. Calls `line` if one is due, with how often it happened since the last one.
    pub fn happened(&self, line: impl FnOnce(u64)) {
        let now = Instant::now();
        let mut lasting = self.lock();
        let ended = self.end(&mut lasting, now, MINUTE);
        let times = match &mut *lasting {
            Some(lasting) => lasting.again(now),
            none => {
                *none = Some(Lasting::begun(now));
                self.is_lasting.store(true, Relaxed);
                Some(1)
            }
        };
        drop(lasting);
        // The line at the begin has said all of what happened once.
        if let Some(ended) = ended.filter(|ended| ended.times > 1) {
            self.tell(&ended);
        }
        if let Some(times) = times {
            line(times);
        }
    }

    /// All is well: it is over, unless it happened within the last few seconds. Costs nothing while it
    /// does not last.
    pub fn is_well(&self) {
        if self.is_lasting.load(Relaxed) {
            let ended = self.end(&mut self.lock(), Instant::now(), WELL);
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

    fn lock(&self) -> MutexGuard<'_, Option<Lasting>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Counts one more; gives the number that a line is due for.
    fn again(&mut self, now: Instant) -> Option<u64> {
        self.last = now;
        self.times += 1;
        self.untold += 1;
        if now.duration_since(self.told) < MINUTE {
            return None;
        }
        self.told = now;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests;
