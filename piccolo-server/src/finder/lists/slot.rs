//! What is known of one key's holders, and who is finding out more.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use crate::finder::list::List;

/// One key.
#[derive(Debug, Default)]
pub(super) struct Slot {
    known: RwLock<Option<(What, Instant)>>,
    /// Held by whoever asks the database.
    flight: Mutex<()>,
    /// Changes that were made in place, or should have been.
    version: AtomicU64,
    asked: AtomicU32,
    reading: AtomicBool,
    bytes: AtomicUsize,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// All holders.
    All(Arc<List>),
    /// More than one query reads.
    Many,
}

/// Whether something may be answered without asking the database again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    /// Not fresh, but not for longer than it was.
    Late,
    Old,
}

/// Ends the reading when it is dropped.
#[derive(Debug)]
pub(super) struct Reading(Arc<Slot>);

/// What a slot takes beside its list.
const BASE: usize = 320;
/// How long it is known that a key has many holders.
const MANY: Duration = Duration::from_secs(10);
/// Rather than nothing, a list this old is answered while the database is away.
const LAST_RESORT: Duration = Duration::from_mins(15);
/// A list of this many holders lasts twice as long as an empty one.
const TWICE: u32 = 20;
/// No list lasts longer than so many times what an empty one does.
const LONGEST: u32 = 60;

impl Slot {
    pub(super) async fn flight(&self) -> MutexGuard<'_, ()> {
        self.flight.lock().await
    }

    pub(super) fn known(&self, now: Instant, ttl: Duration) -> Option<(What, Age)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (what, at) = known.as_ref()?;
        let lasts = match what {
            What::All(list) => {
                let holders = u32::try_from(list.len()).unwrap_or(u32::MAX);
                let holders = holders.min((LONGEST - 1) * TWICE);
                ttl.saturating_add(ttl.saturating_mul(holders) / TWICE)
            }
            What::Many => MANY,
        };
        let age = now.saturating_duration_since(*at);
        let age = if age < lasts {
            Age::Fresh
        } else if age < lasts.saturating_mul(2) {
            Age::Late
        } else {
            Age::Old
        };
        Some((what.clone(), age))
    }

    /// What to answer when the database is away.
    pub(super) fn last_resort(&self, now: Instant) -> Option<Arc<List>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.as_ref()? {
            (What::All(list), at) if now.saturating_duration_since(*at) < LAST_RESORT => {
                Some(Arc::clone(list))
            }
            _ => None,
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// Takes what was read, begun at `version`; gives the bytes that it grew by. What was stored
    /// since then may be missing in it, so that it is not kept for later.
    pub(super) fn put(&self, version: u64, what: What, now: Instant) -> usize {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let long = matches!(&what, What::All(list) if list.len() > super::CHANGED);
        if self.version() != version && !long {
            *known = None;
            return 0;
        }
        let bytes = BASE
            + match &what {
                What::All(list) => list.bytes(),
                What::Many => 0,
            };
        *known = Some((what, now));
        self.asked.store(0, Relaxed);
        bytes.saturating_sub(self.bytes.swap(bytes, Relaxed))
    }

    /// Changes the list in place if it has at most `longest` holders.
    pub(super) fn change(&self, longest: usize, change: impl FnOnce(&mut List)) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        self.version.fetch_add(1, Relaxed);
        if let Some((What::All(list), _)) = known.as_mut()
            && list.len() <= longest
        {
            change(Arc::make_mut(list));
        }
    }

    /// How often it was asked for since something became known, this time included.
    pub(super) fn asked(&self) -> u32 {
        self.asked.fetch_add(1, Relaxed).saturating_add(1)
    }

    pub(super) fn begin_reading(self: &Arc<Self>) -> Option<Reading> {
        let begun = self.reading.swap(true, Relaxed);
        (!begun).then(|| Reading(Arc::clone(self)))
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.reading.store(false, Relaxed);
    }
}
