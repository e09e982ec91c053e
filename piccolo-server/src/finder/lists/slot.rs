//! What is known of one key's holders, and who is finding out more.

use std::{
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use crate::{finder::list::List, packed::Packed};

/// One key.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: RwLock<State>,
    /// Held by whoever asks the database.
    flight: Mutex<()>,
    asked: AtomicU32,
    reading: AtomicBool,
}

#[derive(Debug)]
struct State {
    known: Option<(What, Instant)>,
    bytes: usize,
    /// Reads of the database that are under way.
    reads: u32,
    /// What was stored since the first of them began.
    changes: Vec<Change>,
}

/// A node has the key now, or no longer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Added(Packed),
    Removed(Packed),
}

/// A read of the database that is under way. It may miss what is stored meanwhile, or have it.
#[derive(Debug)]
pub(super) struct Read {
    slot: Arc<Slot>,
    /// Changes that were made before it.
    before: usize,
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
/// Changes that are remembered while the database is read.
const CHANGES: usize = 4096;
/// How long it is known that a key has many holders.
const MANY: Duration = Duration::from_secs(10);
/// Rather than nothing, a list this old is answered while the database is away.
const LAST_RESORT: Duration = Duration::from_mins(15);
/// A list of this many holders lasts twice as long as an empty one.
const TWICE: u32 = 10;
/// No list lasts longer than so many times what an empty one does.
const LONGEST: u32 = 60;

impl Slot {
    pub(super) async fn flight(&self) -> MutexGuard<'_, ()> {
        self.flight.lock().await
    }

    pub(super) fn known(&self, now: Instant, ttl: Duration) -> Option<(What, Age)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let (what, at) = state.known.as_ref()?;
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

    /// What to answer when the database is away. That nobody had the key is no answer: somebody may
    /// have it by now, and who asks can do without as well.
    pub(super) fn last_resort(&self, now: Instant) -> Option<Arc<List>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match state.known.as_ref()? {
            (What::All(list), at)
                if list.len() > 0 && now.saturating_duration_since(*at) < LAST_RESORT =>
            {
                Some(Arc::clone(list))
            }
            _ => None,
        }
    }

    /// To be called before the database is asked.
    pub(super) fn begin_read(self: &Arc<Self>) -> Read {
        let mut state = self.lock();
        state.reads += 1;
        Read {
            before: state.changes.len(),
            slot: Arc::clone(self),
        }
    }

    /// A change was stored; gives the bytes that the slot grew by.
    pub(super) fn change(&self, change: Change) -> usize {
        let mut state = self.lock();
        if state.reads > 0 && state.changes.len() < CHANGES {
            state.changes.push(change);
        }
        if let Some((What::All(list), _)) = &mut state.known {
            change.make(Arc::make_mut(list));
        }
        state.grow()
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
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.bytes
    }

    fn lock(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            known: None,
            bytes: BASE,
            reads: 0,
            changes: Vec::new(),
        }
    }
}

impl State {
    /// The bytes that it grew by.
    fn grow(&mut self) -> usize {
        let list = match &self.known {
            Some((What::All(list), _)) => list.bytes(),
            _ => 0,
        };
        let bytes = BASE + list;
        bytes.saturating_sub(std::mem::replace(&mut self.bytes, bytes))
    }
}

impl Change {
    fn make(self, list: &mut List) {
        match self {
            Self::Added(holder) => list.insert(holder),
            Self::Removed(holder) => list.remove(holder),
        }
    }
}

impl Read {
    /// Takes what was read, and makes the changes that it may have missed; gives the bytes that the
    /// slot grew by.
    pub(super) fn put(self, what: What, now: Instant) -> usize {
        let mut state = self.slot.lock();
        if state.changes.len() == CHANGES {
            // Some may have been forgotten. The next read is sure to know them.
            return 0;
        }
        let mut what = what;
        if let What::All(list) = &mut what {
            let changes = state.changes.get(self.before..).unwrap_or_default();
            if !changes.is_empty() {
                let list = Arc::make_mut(list);
                for change in changes {
                    change.make(list);
                }
            }
        }
        state.known = Some((what, now));
        self.slot.asked.store(0, Relaxed);
        state.grow()
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        state.reads -= 1;
        if state.reads == 0 {
            state.changes = Vec::new();
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.reading.store(false, Relaxed);
    }
}
