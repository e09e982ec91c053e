//! The holders of keys that were asked for lately, so that a herd asking for one key costs the
//! database one query.
//!
//! A key with up to some thousand holders is read by the first of the herd; the others wait for it.
//! One with more is answered from short scans round each requester, until it was asked for a few
//! times; then its whole list is read, in the background, and serves everybody. A list lasts for
//! `--find-cache-ttl`, a long one longer in proportion, up to sixty times that: what changes in it
//! meanwhile is a smaller part of it, and reading it costs more. What this instance itself stores is
//! seen at once. So whenever it turns out that no other instance has stored anything, all lists are as
//! good as new, and they last until others need the room. When the database is away, old lists serve on.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use daemon::{metric::Metric, scope::Scope, telemetry::chain};
use metrics::counter;
use tokio::{sync::Semaphore, time::Instant};
use tracing::{Span, debug};

use super::{
    entry::{Age, Change, Quiet, Read, Slot, What},
    length::{Length, Lengths},
    set::List,
    table::Table,
};
use crate::{
    key_hash::KeyHash,
    packed::{Family, Packed},
    store::{Applied, Nearest, NodeKey, SpaceId, Store, StoreError},
};

pub(super) const CACHE: Metric = Metric::counter(
    "piccolo_server_find_cache_total",
    &[(
        "outcome",
        "`hit`, `miss` (the database was asked), `many` (it was asked for the requester's \
         neighbours only), `late` (an old list is good enough while it is read anew), `stale` (the \
         database is away)",
    )],
    "Keys looked up for finds, by where the holders came from.",
);

/// All lists of one database.
#[derive(Debug)]
pub(crate) struct Lists {
    store: Arc<dyn Store>,
    scope: Scope,
    ttl: Duration,
    table: std::sync::Mutex<Table>,
    quiet: std::sync::Mutex<Quiet>,
    lengths: Lengths,
    /// Long lists that are read at the same time.
    readers: Arc<Semaphore>,
    /// When the database last failed.
    failed: std::sync::Mutex<Option<Instant>>,
}

/// What is known of a key's holders.
#[derive(Debug)]
pub(crate) enum Held {
    /// All of them.
    All(Arc<List>),
    /// Those next to the requester; there are more.
    Near(Nearest),
}

/// How many keys have a list, and what these take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

/// How long after a failure the database is left alone by finds that have an old list.
const AWAY: Duration = Duration::from_secs(1);
/// How long a find that has an old list waits for the database.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of all lists.
const BUDGET: usize = 40 << 20;
/// A list of fewer holders is read by the first who asks for it as rows.
const FEW: u32 = 256;
/// And one of fewer than this as one long value.
const MANY: u32 = 2048;
/// A key with many holders that was asked for so often is worth reading whole.
const WORTH: u32 = 4;
/// Rows of one page of a long list.
const PAGE: u32 = 4096;
/// Longer lists are not read whole: keys that everybody has are found next door.
const LONGEST: usize = 400_000;
/// A list of more holders is good enough while it is read anew.
const LONG: usize = 1024;

impl Lists {
    pub(crate) fn new(store: Arc<dyn Store>, scope: Scope, ttl: Duration) -> Self {
        let now = Instant::now();
        Self {
            store,
            scope,
            ttl,
            table: std::sync::Mutex::new(Table::new(BUDGET)),
            quiet: std::sync::Mutex::new(Quiet {
                begin: now,
                end: now,
            }),
            lengths: Lengths::default(),
            readers: Arc::new(Semaphore::new(2)),
            failed: std::sync::Mutex::default(),
        }
    }

    /// The holders of a key, at least the `k` on either side of a place if there are as many.
    pub(crate) async fn holders(
        self: &Arc<Self>,
        (space, family): (SpaceId, Family),
        key: KeyHash,
        around: Packed,
        k: u32,
    ) -> Result<Held, StoreError> {
        let space = (space, family);
        if self.ttl.is_zero() {
            return self.first(space, key, around, k, k.saturating_mul(2)).await;
        }
        let slot = self.slot(space.0, key);
        let known = || self.known(&slot, space, key);
        match known() {
            Some(What::All(list)) => return Ok(Held::All(list)),
            Some(What::Many) => return self.near(space, key, around, k).await,
            None => {}
        }
        let flight = slot.flight().await;
        // Whoever flew before may have brought it.
        match known() {
            Some(What::All(list)) => return Ok(Held::All(list)),
            Some(What::Many) => {
                drop(flight);
                return self.near(space, key, around, k).await;
            }
            None => {}
        }
        let old = slot.last_resort(Instant::now());
        let read = slot.begin_read();
        let asked = match &old {
            Some(old) if self.is_away() => return Ok(stale(old)),
            Some(old) => {
                let Ok(asked) =
                    tokio::time::timeout(PATIENCE, self.first(space, key, around, k, FEW)).await
                else {
                    self.failed();
                    return Ok(stale(old));
                };
                asked
            }
            None => self.first(space, key, around, k, FEW).await,
        };
        match (asked, old) {
            (Ok(Held::All(list)), _) => {
                count("miss");
                self.keep(read, What::All(Arc::clone(&list)));
                Ok(Held::All(list))
            }
            (Ok(near), _) => {
                count("many");
                self.keep(read, What::Many);
                Ok(near)
            }
            (Err(error), Some(old)) => {
                debug!(error = %chain(&error), "answered from an old list");
                self.failed();
                Ok(stale(&old))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// A node's set has changed in the database.
    pub(crate) fn stored(&self, node: NodeKey, applied: &Applied) {
        let Applied { added, removed, .. } = applied;
        let added = added.iter().map(|key| (key, Change::Added(node.holder)));
        let removed = removed
            .iter()
            .map(|key| (key, Change::Removed(node.holder)));
        let table = self.lock();
        let slots: Vec<_> = added
            .chain(removed)
            .filter_map(|(key, change)| Some((table.get((node.space, *key))?, change)))
            .collect();
        drop(table);
        for (slot, change) in slots {
            let (before, now) = slot.change(change);
            if before != now {
                self.lock().resize(before, now);
            }
        }
    }

    /// Somebody else may have stored something: what was read before may be wrong.
    pub(crate) fn disturbed(&self) {
        let now = Instant::now();
        *self.quiet() = Quiet {
            begin: now,
            end: now,
        };
    }

    /// Nobody else stored anything until then: lists that were right are right still. Not so where
    /// what is read may have been old already.
    pub(crate) fn undisturbed(&self, until: Instant) {
        if !self.store.lags() {
            let mut quiet = self.quiet();
            quiet.end = quiet.end.max(until);
        }
    }

    fn quiet(&self) -> std::sync::MutexGuard<'_, Quiet> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn size(&self) -> Size {
        self.lock().size()
    }

    /// What is known and good enough to be answered.
    fn known(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        space: (SpaceId, Family),
        key: KeyHash,
    ) -> Option<What> {
        let quiet = *self.quiet();
        let (what, age) = slot.known(Instant::now(), self.ttl, quiet)?;
        match (&what, age) {
            (What::All(_), Age::Fresh) => count("hit"),
            (What::All(list), Age::Late) if list.len() > LONG => {
                count("late");
                self.read_soon(slot, space, key);
            }
            (What::Many, Age::Fresh) => {
                count("many");
                if slot.is_worth(WORTH) {
                    self.read_soon(slot, space, key);
                }
            }
            _ => return None,
        }
        Some(what)
    }

    /// All of the key's holders, if they are not too many, or those on either side of the requester.
    /// Fewer than `few` are read as rows.
    async fn first(
        &self,
        space: (SpaceId, Family),
        key: KeyHash,
        around: Packed,
        k: u32,
        few: u32,
    ) -> Result<Held, StoreError> {
        let lasting = !self.ttl.is_zero();
        let steps = [(Length::Few, few), (Length::More, MANY)];
        for (length, limit) in steps.into_iter().take(if lasting { 2 } else { 1 }) {
            if self.lengths.get(key) > length {
                continue;
            }
            let holders = self.store.holders(space, key, None, limit).await?;
            if u32::try_from(holders.len()).is_ok_and(|n| n < limit) {
                return Ok(Held::All(Arc::new(List::sorted(space.1, &holders))));
            }
            let more = match length {
                Length::Few => Length::More,
                _ => Length::Many,
            };
            self.lengths.set(key, more);
        }
        self.near(space, key, around, k).await
    }

    /// A query for the requester alone.
    async fn near(
        &self,
        (space, family): (SpaceId, Family),
        key: KeyHash,
        around: Packed,
        k: u32,
    ) -> Result<Held, StoreError> {
        let nearest = self.store.nearest(space, key, around, k).await?;
        if nearest.is_all(k) {
            self.lengths.set(key, Length::Few);
            return Ok(Held::All(Arc::new(List::of(family, &nearest))));
        }
        Ok(Held::Near(nearest))
    }

    /// Reads the whole list in the background, unless that is under way.
    fn read_soon(self: &Arc<Self>, slot: &Arc<Slot>, space: (SpaceId, Family), key: KeyHash) {
        let Some(reading) = slot.begin_reading() else {
            return;
        };
        let (lists, slot) = (Arc::clone(self), Arc::clone(slot));
        self.scope.task(Span::none(), async move {
            let Ok(_reader) = lists.readers.acquire().await else {
                return;
            };
            let read = slot.begin_read();
            match lists.read(space, key).await {
                Ok(Some(list)) => lists.keep(read, What::All(Arc::new(list))),
                Ok(None) => slot.give_up(),
                Err(error) => debug!(error = %chain(&error), "a long list was not read"),
            }
            drop(reading);
        });
    }

    async fn read(
        &self,
        (space, family): (SpaceId, Family),
        key: KeyHash,
    ) -> Result<Option<List>, StoreError> {
        let mut list = List::new(family);
        let mut after = None;
        loop {
            let page = self
                .store
                .holders((space, family), key, after, PAGE)
                .await?;
            let full = u32::try_from(page.len()).is_ok_and(|n| n >= PAGE);
            after = page.last().copied();
            list.append(&page);
            if !full {
                return Ok(Some(list));
            }
            if list.len() > LONGEST {
                return Ok(None);
            }
        }
    }

    /// Whether the database failed just now: whoever can do without does not wait for it.
    fn is_away(&self) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < AWAY)
    }

    fn failed(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn keep(&self, read: Read, what: What) {
        let (before, now) = read.put(what);
        self.lock().resize(before, now);
    }

    fn slot(&self, space: SpaceId, key: KeyHash) -> Arc<Slot> {
        self.lock().slot((space, key))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Better than nothing.
fn stale(list: &Arc<List>) -> Held {
    count("stale");
    Held::All(Arc::clone(list))
}

fn count(outcome: &'static str) {
    counter!(CACHE.name, "outcome" => outcome).increment(1);
}
