//! What is known of one key's holders, and who is finding out more.

use std::{
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::Instant,
};

use super::set::List;
use crate::packed::Packed;

/// One key.
#[derive(Debug, Default)]
pub(super) struct Slot {
    state: RwLock<State>,
    /// It was asked for since somebody wanted to know last.
    asked: AtomicBool,
}

/// There are many of them: what few need they have elsewhere, while they need it.
#[derive(Debug, Default)]
struct State {
    known: Option<(What, Instant)>,
    /// So many milliseconds later it was found to be right still.
    right: AtomicU32,
    bytes: u32,
    /// How often it was asked for since something became known.
    asked: u32,
    /// Its whole list is being read.
    reading: bool,
    /// Held by whoever asks the database.
    gate: Option<Arc<Mutex<()>>>,
    replay: Option<Box<Replay>>,
}

/// What reads of the database may miss.
#[derive(Debug, Default)]
struct Replay {
    /// Reads that are under way.
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
    begun: Instant,
}

/// Whoever has it asks the database.
#[derive(Debug)]
pub(super) struct Flight {
    slot: Arc<Slot>,
    gate: Option<OwnedMutexGuard<()>>,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// All holders.
    All(Arc<List>),
    /// More than one query reads.
    Many,
}

/// From the one moment to the other nothing was stored but by this instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    pub(super) begin: Instant,
    pub(super) end: Instant,
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

/// What a slot takes beside its list, its places in the table included.
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
/// Stands for more than any number of those who asked.
const NEVER: u32 = u32::MAX;
/// A list that must be right is read anew after so long nevertheless.
const RIGHT: Duration = Duration::from_mins(15);

impl Slot {
    /// It is asked for.
    pub(super) fn ask(&self) {
        self.asked.store(true, Relaxed);
    }

    /// Whether it was asked for since the last call.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.swap(false, Relaxed)
    }

    /// Waits until nobody else asks the database.
    pub(super) async fn flight(self: &Arc<Self>) -> Flight {
        let mut flight = Flight {
            slot: Arc::clone(self),
            gate: None,
        };
        let gate = Arc::clone(self.lock().gate.get_or_insert_default());
        flight.gate = Some(gate.lock_owned().await);
        flight
    }

    /// What is known, and whether it may be answered.
    pub(super) fn known(&self, now: Instant, ttl: Duration, quiet: Quiet) -> Option<(What, Age)> {
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
        if quiet.begin <= *at && matches!(what, What::All(_)) {
            let right = quiet.end.saturating_duration_since(*at).min(RIGHT);
            let millis = u32::try_from(right.as_millis()).unwrap_or(u32::MAX);
            state.right.fetch_max(millis, Relaxed);
        }
        let age = now.saturating_duration_since(state.right(*at));
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
                if list.len() > 0
                    && now.saturating_duration_since(state.right(*at)) < LAST_RESORT =>
            {
                Some(Arc::clone(list))
            }
            _ => None,
        }
    }

    /// To be called before the database is asked.
    pub(super) fn begin_read(self: &Arc<Self>) -> Read {
        let mut state = self.lock();
        let replay = state.replay.get_or_insert_default();
        replay.reads += 1;
        Read {
            before: replay.changes.len(),
            begun: Instant::now(),
            slot: Arc::clone(self),
        }
    }

    /// A change was stored; gives the bytes that the slot took before and takes now.
    pub(super) fn change(&self, change: Change) -> (usize, usize) {
        let mut state = self.lock();
        if let Some(replay) = &mut state.replay
            && replay.changes.len() < CHANGES
        {
            replay.changes.push(change);
        }
        if let Some((What::All(list), _)) = &mut state.known {
            change.make(Arc::make_mut(list));
        }
        state.measure()
    }

    /// Counts one who asks; says whether they are enough since something became known.
    pub(super) fn is_worth(&self, enough: u32) -> bool {
        let mut state = self.lock();
        if state.asked == NEVER {
            return false;
        }
        state.asked += 1;
        state.asked >= enough
    }

    /// Its whole list is too long, however many ask.
    pub(super) fn give_up(&self) {
        self.lock().asked = NEVER;
    }

    pub(super) fn begin_reading(self: &Arc<Self>) -> Option<Reading> {
        let begun = std::mem::replace(&mut self.lock().reading, true);
        (!begun).then(|| Reading(Arc::clone(self)))
    }

    pub(super) fn bytes(&self) -> usize {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.bytes()
    }

    fn lock(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the measure of the list; gives the bytes of before and of now.
    fn measure(&mut self) -> (usize, usize) {
        let before = self.bytes();
        let list = match &self.known {
            Some((What::All(list), _)) => list.bytes(),
            _ => 0,
        };
        self.bytes = u32::try_from(list).unwrap_or(u32::MAX);
        (before, self.bytes())
    }

    /// When it was last known to be right, of what was read then.
    fn right(&self, at: Instant) -> Instant {
        at + Duration::from_millis(self.right.load(Relaxed).into())
    }

    fn bytes(&self) -> usize {
        BASE + usize::try_from(self.bytes).unwrap_or(usize::MAX - BASE)
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
    /// slot took before and takes now.
    pub(super) fn put(self, what: What) -> (usize, usize) {
        let mut state = self.slot.lock();
        let changes = state.replay.as_ref().map(|replay| &*replay.changes);
        let changes = changes.unwrap_or_default();
        let mut what = what;
        // Where there are too many, some may have been forgotten. The next read is sure to know them.
        if changes.len() < CHANGES {
            if let (What::All(list), Some(changes)) = (&mut what, changes.get(self.before..))
                && !changes.is_empty()
            {
                let list = Arc::make_mut(list);
                for change in changes {
                    change.make(list);
                }
            }
            if state.asked != NEVER || matches!(what, What::All(_)) {
                state.asked = 0;
            }
            state.known = Some((what, self.begun));
            state.right = AtomicU32::new(0);
        }
        state.measure()
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        if let Some(replay) = &mut state.replay {
            replay.reads -= 1;
            if replay.reads == 0 {
                state.replay = None;
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        drop(self.gate.take());
        let mut state = self.slot.lock();
        // Whoever waits has it, too.
        if state
            .gate
            .as_ref()
            .is_some_and(|gate| Arc::strong_count(gate) == 1)
        {
            state.gate = None;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.lock().reading = false;
    }
}
