//! The cache of one database: looks keys up, loads what is missing, and takes in what is written.

use std::{sync::Arc, time::Duration};

use daemon::{metric::Metric, scope::Scope, telemetry::chain};
use metrics::counter;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};
use tracing::{Span, debug};

use super::{
    entries::{CacheSize, Entries},
    entry::{Cached, Entry, Freshness, Load, QuietPeriod, SetChange},
    set::HolderSet,
    size_hints::{SizeHint, SizeHints},
};
use crate::{
    key_hash::KeyHash,
    packed::{Family, Packed},
    store::{Applied, Nearest, NodeKey, SpaceId, Store, StoreError},
};

pub(super) const LOOKUPS: Metric = Metric::counter(
    "piccolo_server_find_cache_total",
    &[(
        "outcome",
        "`hit`, `miss` (the database was asked), `many` (it was asked for the requester's \
         neighbours only), `late` (a stale set is used while it is loaded again), `stale` (a stale set \
         is used because the database is away)",
    )],
    "Keys looked up for finds, by where the holders came from.",
);

/// The holders of keys of one database that were requested recently.
#[derive(Debug)]
pub(crate) struct HolderCache {
    store: Arc<dyn Store>,
    scope: Scope,
    /// The time to live of an empty set; zero turns the cache off.
    ttl: Duration,
    entries: Mutex<Entries>,
    quiet: Mutex<QuietPeriod>,
    size_hints: SizeHints,
    /// Permits of background loads.
    refreshes: Arc<Semaphore>,
    /// When the database last failed.
    failed: Mutex<Option<Instant>>,
}

/// A key that is looked up for a requester.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyQuery {
    pub(crate) space: SpaceId,
    pub(crate) family: Family,
    pub(crate) key: KeyHash,
    /// The requester's place in the order of addresses.
    pub(crate) around: Packed,
    /// How many holders are wanted on either side of it.
    pub(crate) neighbours: u32,
}

/// The known holders of a key.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// All of them.
    Complete(Arc<HolderSet>),
    /// Those next to the requester; there are more.
    Neighbours(Nearest),
}

/// After a database failure, finds with a fallback set do not query it for this long.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How long a find that has a set to fall back on waits for the database.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of all entries.
const BUDGET: usize = 40 << 20;
/// A set of fewer holders is loaded in the foreground, as rows.
const MAX_ROWS: u32 = 256;
/// One of fewer than this in the foreground as well, packed into one value.
const MAX_PACKED: u32 = 2048;
/// Requests after which a larger set is loaded in the background.
const REQUESTS_BEFORE_REFRESH: u32 = 4;
/// Background loads at the same time.
const REFRESHES: usize = 2;
/// Rows of one page of a background load.
const PAGE: u32 = 4096;
/// Larger sets are never loaded: keys that everybody has are found next door.
const MAX_SET: usize = 400_000;
/// A stale set of more holders than this is the answer while a load is in flight.
const STALE_WHILE_REFRESHED: usize = 1024;

impl HolderCache {
    pub(crate) fn new(store: Arc<dyn Store>, scope: Scope, ttl: Duration) -> Self {
        let now = Instant::now();
        Self {
            store,
            scope,
            ttl,
            entries: Mutex::new(Entries::new(BUDGET)),
            quiet: Mutex::new(QuietPeriod {
                begin: now,
                end: now,
            }),
            size_hints: SizeHints::default(),
            refreshes: Arc::new(Semaphore::new(REFRESHES)),
            failed: Mutex::default(),
        }
    }

    /// The holders of a key, from memory where they are fresh enough.
    pub(crate) async fn lookup(self: &Arc<Self>, query: KeyQuery) -> Result<Lookup, StoreError> {
        if self.ttl.is_zero() {
            let most = query.neighbours.saturating_mul(2);
            return self.load(query, most).await;
        }
        let entry = self.entries.lock().entry((query.space, query.key));
        if let Some(cached) = self.cached(&entry, query) {
            return self.answer(cached, query).await;
        }
        let permit = entry.single_flight().await;
        // The previous permit holder may have loaded it.
        if let Some(cached) = self.cached(&entry, query) {
            drop(permit);
            return self.answer(cached, query).await;
        }
        match entry.stale_if_error(Instant::now()) {
            Some(fallback) => Ok(self.load_or(&entry, query, fallback).await),
            None => self.load_into(&entry, query).await,
        }
    }

    /// Applies a committed change of a node's set.
    pub(crate) fn apply_write(&self, node: NodeKey, applied: &Applied) {
        let Applied { added, removed, .. } = applied;
        let added = added.iter().map(|key| (key, SetChange::Added(node.holder)));
        let removed = removed
            .iter()
            .map(|key| (key, SetChange::Removed(node.holder)));
        let entries = self.entries.lock();
        let changed: Vec<_> = added
            .chain(removed)
            .filter_map(|(key, change)| Some((entries.get((node.space, *key))?, change)))
            .collect();
        drop(entries);
        for (entry, change) in changed {
            let (before, now) = entry.apply(change);
            if before != now {
                self.entries.lock().resize(before, now);
            }
        }
    }

    /// Another instance may have written: entries loaded before now live out their TTL and are not
    /// revalidated.
    pub(crate) fn invalidate(&self) {
        let now = Instant::now();
        *self.quiet.lock() = QuietPeriod {
            begin: now,
            end: now,
        };
    }

    /// No other instance wrote until then: entries loaded since the last invalidation were right at
    /// that moment. Has no effect over a store whose reads lag.
    pub(crate) fn revalidate(&self, until: Instant) {
        if !self.store.lags() {
            let mut quiet = self.quiet.lock();
            quiet.end = quiet.end.max(until);
        }
    }

    pub(crate) fn size(&self) -> CacheSize {
        self.entries.lock().size()
    }

    /// What is cached and may be answered, with its requests counted. Starts a background load where
    /// one is due.
    fn cached(self: &Arc<Self>, entry: &Arc<Entry>, query: KeyQuery) -> Option<Cached> {
        let quiet = *self.quiet.lock();
        let (cached, freshness) = entry.get(Instant::now(), self.ttl, quiet)?;
        match (&cached, freshness) {
            (Cached::Complete(_), Freshness::Fresh) => count("hit"),
            (Cached::Complete(set), Freshness::Stale) if set.len() > STALE_WHILE_REFRESHED => {
                count("late");
                self.refresh(entry, query);
            }
            (Cached::TooMany, Freshness::Fresh) => {
                count("many");
                if entry.count_request(REQUESTS_BEFORE_REFRESH) {
                    self.refresh(entry, query);
                }
            }
            _ => return None,
        }
        Some(cached)
    }

    async fn answer(&self, cached: Cached, query: KeyQuery) -> Result<Lookup, StoreError> {
        match cached {
            Cached::Complete(set) => Ok(Lookup::Complete(set)),
            Cached::TooMany => self.neighbours(query).await,
        }
    }

    /// Loads a key and caches the result.
    async fn load_into(&self, entry: &Arc<Entry>, query: KeyQuery) -> Result<Lookup, StoreError> {
        let load = entry.start_load();
        let loaded = self.load(query, MAX_ROWS).await?;
        match &loaded {
            Lookup::Complete(set) => {
                count("miss");
                self.keep(load, Cached::Complete(Arc::clone(set)));
            }
            Lookup::Neighbours(_) => {
                count("many");
                self.keep(load, Cached::TooMany);
            }
        }
        Ok(loaded)
    }

    /// The same; answers the fallback where the database is away.
    async fn load_or(
        &self,
        entry: &Arc<Entry>,
        query: KeyQuery,
        fallback: Arc<HolderSet>,
    ) -> Lookup {
        if !self.failed_just_now() {
            let load = self.load_into(entry, query);
            match tokio::time::timeout(QUERY_TIMEOUT, load).await {
                Ok(Ok(loaded)) => return loaded,
                Ok(Err(error)) => debug!(error = %chain(&error), "answered from a stale set"),
                Err(_) => {}
            }
            *self.failed.lock() = Some(Instant::now());
        }
        count("stale");
        Lookup::Complete(fallback)
    }

    /// All of the key's holders, if there are not too many, or those on either side of the requester.
    /// Fewer than `most_rows` are loaded as rows.
    async fn load(&self, query: KeyQuery, most_rows: u32) -> Result<Lookup, StoreError> {
        let is_cached = !self.ttl.is_zero();
        let steps = [
            (SizeHint::Small, most_rows, SizeHint::Medium),
            (SizeHint::Medium, MAX_PACKED, SizeHint::Large),
        ];
        let space = (query.space, query.family);
        for (hint, limit, next) in steps.into_iter().take(if is_cached { 2 } else { 1 }) {
            if self.size_hints.get(query.key) > hint {
                continue;
            }
            let holders = self.store.holders(space, query.key, None, limit).await?;
            if u32::try_from(holders.len()).is_ok_and(|n| n < limit) {
                let set = HolderSet::from_sorted(query.family, &holders);
                return Ok(Lookup::Complete(Arc::new(set)));
            }
            self.size_hints.set(query.key, next);
        }
        self.neighbours(query).await
    }

    /// A query for this requester alone.
    async fn neighbours(&self, query: KeyQuery) -> Result<Lookup, StoreError> {
        let KeyQuery {
            space,
            family,
            key,
            around,
            neighbours,
        } = query;
        let nearest = self.store.nearest(space, key, around, neighbours).await?;
        if nearest.is_all(neighbours) {
            self.size_hints.set(key, SizeHint::Small);
            let set = HolderSet::from_nearest(family, &nearest);
            return Ok(Lookup::Complete(Arc::new(set)));
        }
        Ok(Lookup::Neighbours(nearest))
    }

    /// Loads the complete set in the background, unless that is in flight.
    fn refresh(self: &Arc<Self>, entry: &Arc<Entry>, query: KeyQuery) {
        let Some(refresh) = entry.start_refresh() else {
            return;
        };
        let (cache, entry) = (Arc::clone(self), Arc::clone(entry));
        self.scope.task(Span::none(), async move {
            let Ok(_permit) = cache.refreshes.acquire().await else {
                return;
            };
            let load = entry.start_load();
            match cache.load_pages(query).await {
                Ok(Some(set)) => cache.keep(load, Cached::Complete(Arc::new(set))),
                Ok(None) => entry.set_too_large(),
                Err(error) => debug!(error = %chain(&error), "a large set was not loaded"),
            }
            drop(refresh);
        });
    }

    /// The complete set; `None` where it is too large.
    async fn load_pages(&self, query: KeyQuery) -> Result<Option<HolderSet>, StoreError> {
        let space = (query.space, query.family);
        let mut set = HolderSet::new(query.family);
        let mut after = None;
        loop {
            let page = self.store.holders(space, query.key, after, PAGE).await?;
            let is_full = u32::try_from(page.len()).is_ok_and(|n| n >= PAGE);
            after = page.last().copied();
            set.append(&page);
            if !is_full {
                return Ok(Some(set));
            }
            if set.len() > MAX_SET {
                return Ok(None);
            }
        }
    }

    fn failed_just_now(&self) -> bool {
        let failed = *self.failed.lock();
        failed.is_some_and(|at| at.elapsed() < AFTER_FAILURE)
    }

    fn keep(&self, load: Load, loaded: Cached) {
        let (before, now) = load.finish(loaded);
        self.entries.lock().resize(before, now);
    }
}

fn count(outcome: &'static str) {
    counter!(LOOKUPS.name, "outcome" => outcome).increment(1);
}
