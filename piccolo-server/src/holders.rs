//! The holders of keys that were asked for lately, in memory, so that a herd asking for one key costs
//! the database one query.
//!
//! Each key has an *entry*, which caches the key's complete *set* of holders, or that the set is too
//! large for one query. Finds of a key with a too large set are answered from short scans around each
//! requester, until the key was requested a few times; then the complete set is loaded in the
//! background and serves everybody.
//!
//! # States of an entry
//!
//! The age of an entry is the time since it was last known to be right: when it was loaded, or
//! revalidated after that. Its time to live (TTL) is `--find-cache-ttl` for an empty set and grows with
//! the set, up to sixty times that: a change is a smaller part of a large set, and loading it costs more.
//!
//! ```text
//!            load                 age >= TTL             age >= 2 TTL
//!   absent ────────► fresh ──────────────────► stale ──────────────────► expired
//!      ▲               ▲  ◄────────────────────  │                          │
//!      │               │      revalidate         │                          │
//!      │               └─────────────────────────┴──────────────────────────┘
//!      │                        load (one at a time: single flight), revalidate
//!      └── evict (CLOCK: not requested since its last turn, when the memory is full)
//! ```
//!
//! | state | a find of the key |
//! |---|---|
//! | absent | loads it; the others of a herd wait for that one load |
//! | fresh | answers it |
//! | stale | answers a large set and loads it anew in the background; loads a small one first |
//! | expired | loads it first |
//!
//! When the database is away, a non-empty set is answered in every state, for a quarter of an hour after
//! it was last known to be right.
//!
//! **Revalidate.** This instance sees its own writes at once (below), so an entry can only be wrong when
//! another instance wrote. [`HolderCache::revalidate`] says that none did up to some moment: every entry
//! loaded since the last invalidation was right at that moment. It restores freshness without a query, for
//! a quarter of an hour after the load at most.
//!
//! **Invalidate.** [`HolderCache::invalidate`] ends that for all entries loaded before: from then on they
//! live out their TTL. It is called when another instance's row was seen, when the database did not
//! answer, when it is unknown whether a write was committed, and when a node's set was not what this
//! instance knew before it wrote. Over replicas, which lag, nothing is revalidated.
//!
//! **Concurrent writes.** A load that runs while this instance writes may or may not see the write.
//! [`HolderCache::apply_write`] therefore changes the cached set at once, and where loads are in flight it
//! also logs the change; a load replays, onto what it read, the changes logged since it began (adding and
//! removing are idempotent). When more than some thousand changes were logged, the load answers its caller
//! and is not cached.

mod cache;
mod entries;
mod entry;
mod set;
mod single_flight;
mod size_hints;

use daemon::metric::Metric;

pub(crate) use self::{
    cache::{HolderCache, KeyQuery, Lookup},
    entries::CacheSize,
    set::{HolderSet, Visited},
};

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[cache::LOOKUPS];
