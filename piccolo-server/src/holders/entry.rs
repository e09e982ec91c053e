//! One key's entry: its cached holders, their freshness, and the loads in flight.
//!
//! The module above draws the states.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::RwLock;
use tokio::time::Instant;

use super::{
    set::HolderSet,
    single_flight::{Permit, SingleFlight},
};
use crate::packed::Packed;

/// One key.
#[derive(Debug, Default)]
pub(super) struct Entry {
    state: RwLock<EntryState>,
    flight: SingleFlight,
    /// The reference bit of CLOCK eviction: the key was requested since the hand last passed.
    referenced: AtomicBool,
}

/// Kept small, since there are many: rarely needed fields are allocated on demand.
#[derive(Debug, Default)]
struct EntryState {
    /// The loaded holders, and when the load began.
    cached: Option<(Cached, Instant)>,
    /// Milliseconds from the load to the last revalidation.
    revalidated_ms: AtomicU32,
    /// Bytes of the set.
    bytes: u32,
    /// Requests since the last load.
    requests: u32,
    /// The complete set is being loaded in the background.
    refreshing: bool,
    replay: Option<Box<Replay>>,
}

/// What loads in flight may miss.
#[derive(Debug, Default)]
struct Replay {
    /// Loads in flight.
    loads: u32,
    /// Changes that were committed since the first of them began.
    changes: Vec<SetChange>,
}

/// A node holds the key now, or no longer.
#[derive(Debug, Clone, Copy)]
pub(super) enum SetChange {
    Added(Packed),
    Removed(Packed),
}

/// A query of the database in flight. It may or may not see concurrent writes.
#[derive(Debug)]
pub(super) struct Load {
    entry: Arc<Entry>,
    /// Changes that were logged before it began.
    logged_before: usize,
    begun: Instant,
}

/// What an entry caches.
#[derive(Debug, Clone)]
pub(super) enum Cached {
    /// All holders.
    Complete(Arc<HolderSet>),
    /// That there are more holders than one query loads.
    TooMany,
}

/// A period in which only this instance wrote to the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuietPeriod {
    pub(super) begin: Instant,
    pub(super) end: Instant,
}

/// Whether an entry may be answered without a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Younger than its TTL.
    Fresh,
    /// Younger than twice its TTL.
    Stale,
    Expired,
}

/// The background load of a complete set. Dropping it lets the next one begin.
#[derive(Debug)]
pub(super) struct Refresh(Arc<Entry>);

/// Bytes of an entry beside its set, its places among the entries included.
const ENTRY_BYTES: usize = 320;
/// Changes that are logged for loads in flight.
const MAX_CHANGES: usize = 4096;
/// How long a key counts as one with too many holders.
const TOO_MANY_TTL: Duration = Duration::from_secs(10);
/// Number of holders for which a set has twice the TTL of an empty one.
const HOLDERS_OF_DOUBLE_TTL: u32 = 10;
/// The longest TTL, in TTLs of an empty set.
const MAX_TTL: u32 = 60;
/// While the database is away, a set that was right this long ago is still answered.
const STALE_IF_ERROR: Duration = Duration::from_mins(15);
/// The longest time that revalidation extends an entry after its load.
const MAX_REVALIDATION: Duration = Duration::from_mins(15);
/// A value of `requests`: the set is too large to be loaded.
const TOO_LARGE: u32 = u32::MAX;

impl Entry {
    /// Sets the reference bit.
    pub(super) fn reference(&self) {
        self.referenced.store(true, Relaxed);
    }

    /// Clears the reference bit; returns whether it was set.
    pub(super) fn take_referenced(&self) -> bool {
        self.referenced.swap(false, Relaxed)
    }

    /// Waits until no other caller loads the key in the foreground.
    pub(super) async fn single_flight(&self) -> Permit<'_> {
        self.flight.acquire().await
    }

    /// The cached holders and their freshness; revalidates them first where the quiet period covers them.
    pub(super) fn get(
        &self,
        now: Instant,
        ttl: Duration,
        quiet: QuietPeriod,
    ) -> Option<(Cached, Freshness)> {
        let state = self.state.read();
        let (cached, loaded) = state.cached.as_ref()?;
        if quiet.begin <= *loaded && matches!(cached, Cached::Complete(_)) {
            let right_for = quiet.end.saturating_duration_since(*loaded);
            let right_for = right_for.min(MAX_REVALIDATION).as_millis();
            let millis = u32::try_from(right_for).unwrap_or(u32::MAX);
            state.revalidated_ms.fetch_max(millis, Relaxed);
        }
        let age = now.saturating_duration_since(state.last_right(*loaded));
        Some((cached.clone(), Freshness::of(age, cached.ttl(ttl))))
    }

    /// The set to answer while the database is away. An empty set is not answered: there may be
    /// holders by now, and the requester loses nothing without an answer.
    pub(super) fn stale_if_error(&self, now: Instant) -> Option<Arc<HolderSet>> {
        let state = self.state.read();
        let (cached, loaded) = state.cached.as_ref()?;
        let age = now.saturating_duration_since(state.last_right(*loaded));
        match cached {
            Cached::Complete(set) if set.len() > 0 && age < STALE_IF_ERROR => Some(Arc::clone(set)),
            _ => None,
        }
    }

    /// To be called before the database is asked.
    pub(super) fn start_load(self: &Arc<Self>) -> Load {
        let mut state = self.state.write();
        let replay = state.replay.get_or_insert_default();
        replay.loads += 1;
        Load {
            logged_before: replay.changes.len(),
            begun: Instant::now(),
            entry: Arc::clone(self),
        }
    }

    /// Applies a committed change, and logs it for the loads in flight. Returns the entry's bytes
    /// before and after.
    pub(super) fn apply(&self, change: SetChange) -> (usize, usize) {
        let mut state = self.state.write();
        if let Some(replay) = &mut state.replay
            && replay.changes.len() < MAX_CHANGES
        {
            replay.changes.push(change);
        }
        if let Some((Cached::Complete(set), _)) = &mut state.cached {
            change.apply(Arc::make_mut(set));
        }
        state.measure()
    }

    /// Counts a request; returns whether there were `enough` since the last load.
    pub(super) fn count_request(&self, enough: u32) -> bool {
        let mut state = self.state.write();
        if state.requests == TOO_LARGE {
            return false;
        }
        state.requests += 1;
        state.requests >= enough
    }

    /// The complete set is too large to be loaded, however many request it.
    pub(super) fn set_too_large(&self) {
        self.state.write().requests = TOO_LARGE;
    }

    /// Begins the background load, unless one is in flight.
    pub(super) fn start_refresh(self: &Arc<Self>) -> Option<Refresh> {
        let in_flight = std::mem::replace(&mut self.state.write().refreshing, true);
        (!in_flight).then(|| Refresh(Arc::clone(self)))
    }

    /// Memory of the entry, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.state.read().bytes()
    }
}

impl EntryState {
    /// Measures the set; returns the entry's bytes before and after.
    fn measure(&mut self) -> (usize, usize) {
        let before = self.bytes();
        let set = match &self.cached {
            Some((Cached::Complete(set), _)) => set.bytes(),
            _ => 0,
        };
        self.bytes = u32::try_from(set).unwrap_or(u32::MAX);
        (before, self.bytes())
    }

    /// When the loaded holders were last known to be right.
    fn last_right(&self, loaded: Instant) -> Instant {
        loaded + Duration::from_millis(self.revalidated_ms.load(Relaxed).into())
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + usize::try_from(self.bytes).unwrap_or(usize::MAX - ENTRY_BYTES)
    }
}

impl Cached {
    /// The time to live, where that of an empty set is `ttl`.
    fn ttl(&self, ttl: Duration) -> Duration {
        match self {
            Self::Complete(set) => {
                let holders = u32::try_from(set.len()).unwrap_or(u32::MAX);
                let holders = holders.min((MAX_TTL - 1) * HOLDERS_OF_DOUBLE_TTL);
                ttl.saturating_add(ttl.saturating_mul(holders) / HOLDERS_OF_DOUBLE_TTL)
            }
            Self::TooMany => TOO_MANY_TTL,
        }
    }
}

impl Freshness {
    fn of(age: Duration, ttl: Duration) -> Self {
        if age < ttl {
            Self::Fresh
        } else if age < ttl.saturating_mul(2) {
            Self::Stale
        } else {
            Self::Expired
        }
    }
}

impl SetChange {
    fn apply(self, set: &mut HolderSet) {
        match self {
            Self::Added(holder) => set.insert(holder),
            Self::Removed(holder) => set.remove(holder),
        }
    }
}

impl Load {
    /// Caches what was loaded, with the changes replayed that the query may have missed. Gives the
    /// entry's bytes before and after.
    pub(super) fn finish(self, mut loaded: Cached) -> (usize, usize) {
        let mut state = self.entry.state.write();
        let log = state.replay.as_ref().map(|replay| &*replay.changes);
        let log = log.unwrap_or_default();
        // A full log may have dropped some. The next load begins after all of them.
        if log.len() < MAX_CHANGES {
            if let (Cached::Complete(set), Some(changes)) =
                (&mut loaded, log.get(self.logged_before..))
                && !changes.is_empty()
            {
                let set = Arc::make_mut(set);
                for change in changes {
                    change.apply(set);
                }
            }
            if state.requests != TOO_LARGE || matches!(loaded, Cached::Complete(_)) {
                state.requests = 0;
            }
            state.cached = Some((loaded, self.begun));
            state.revalidated_ms = AtomicU32::new(0);
        }
        state.measure()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let mut state = self.entry.state.write();
        if let Some(replay) = &mut state.replay {
            replay.loads -= 1;
            if replay.loads == 0 {
                state.replay = None;
            }
        }
    }
}

impl Drop for Refresh {
    fn drop(&mut self) {
        self.0.state.write().refreshing = false;
    }
}
