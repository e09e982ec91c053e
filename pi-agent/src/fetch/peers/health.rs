//! Which peers are quarantined, and why.
//!
//! A peer that is down is skipped for all objects, a peer that failed an object for that object. A
//! peer that sent wrong bytes is quarantined for that object, and for all objects after repeated
//! lies. Each entry expires by itself.

use std::{num::NonZeroUsize, time::Duration};

use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use piccolo_api::{FailureKind, Holder};
use tokio::time::Instant;

use crate::digest::Digest;

/// How long a peer that is down is skipped; doubled with each consecutive failure.
const DOWN: Duration = Duration::from_secs(5);
const DOWN_MOST: Duration = Duration::from_mins(1);
/// How long a peer is not asked for an object that it failed.
const FAILED: Duration = Duration::from_secs(10);
/// How long a slow peer, overtaken by another, is asked last.
const SLOW: Duration = Duration::from_secs(5);
/// How long a busy peer is asked last.
const BUSY: Duration = Duration::from_secs(1);
/// How long a peer is not asked for an object of whose wrong bytes it sent some.
const SUSPECT: Duration = Duration::from_mins(5);
/// How long a quarantine lasts, for one object and for all.
const QUARANTINE: Duration = Duration::from_mins(10);
/// Number of objects with wrong bytes, and the longest time between two of them, after which a peer
/// is quarantined for all objects. Occasional mismatches are not lies: a pull was cancelled at its
/// end.
const LIES: u32 = 3;
const FORGOTTEN: Duration = Duration::from_hours(1);
/// Most entries of each table; the oldest goes first.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// What is remembered of peers that failed.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<PeerTable>);

/// How a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Healthy.
    Good,
    /// It is asked last.
    Slow,
    /// It is not asked.
    Out,
}

/// What a quarantine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// One object.
    Object,
    /// All objects.
    Peer,
}

/// A peer that is not trusted for a while.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Quarantine {
    /// The peer.
    pub peer: Holder,
    /// The object of the quarantine; `None` for all objects.
    pub digest: Option<String>,
    /// When it ends, in seconds from now.
    pub ends_in_seconds: u64,
}

/// Failures and lies are kept in separate tables: failures cost an attacker nothing and can come in
/// any number, and must not evict a quarantine.
#[derive(Debug)]
struct PeerTable {
    peers: LruCache<Holder, Record>,
    liars: LruCache<Holder, Liar>,
    /// Until when a peer is not asked for an object that it failed.
    failed: LruCache<(Digest, Holder), Instant>,
    /// Until when a peer is not asked for an object of which it gave wrong bytes, or may have.
    lied: LruCache<(Digest, Holder), Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    out: Instant,
    slow: Instant,
    in_a_row: u32,
}

#[derive(Debug, Clone, Copy)]
struct Liar {
    quarantine: Instant,
    lies: u32,
    lied: Instant,
}

impl Health {
    /// How `peer` stands as a source of an object.
    pub(super) fn standing(&self, peer: Holder, digest: &Digest, now: Instant) -> Standing {
        let table = self.lock();
        let source = (digest.clone(), peer);
        if lasts(table.failed.peek(&source), now) || table.is_liar(&source, now) {
            return Standing::Out;
        }
        match table.peers.peek(&peer) {
            Some(record) if record.out > now => Standing::Out,
            Some(record) if record.slow > now => Standing::Slow,
            Some(_) | None => Standing::Good,
        }
    }

    /// Whether `peer` sent wrong bytes of the object, or of several others.
    pub(super) fn has_lied(&self, peer: Holder, digest: &Digest, now: Instant) -> bool {
        self.lock().is_liar(&(digest.clone(), peer), now)
    }

    /// A peer failed. Tells whether a quarantine begins by it.
    pub(super) fn failed(
        &self,
        peer: Holder,
        digest: &Digest,
        kind: FailureKind,
        now: Instant,
    ) -> Option<Scope> {
        let mut table = self.lock();
        match kind {
            FailureKind::Refused
            | FailureKind::Unreachable
            | FailureKind::Stalled
            | FailureKind::Identity => {
                let record = table.record(peer, now);
                let doubled = DOWN.saturating_mul(1 << record.in_a_row.min(8));
                record.out = now + doubled.min(DOWN_MOST);
                record.in_a_row += 1;
                None
            }
            FailureKind::Busy => {
                let record = table.record(peer, now);
                record.slow = record.slow.max(now + BUSY);
                None
            }
            FailureKind::Cut
            | FailureKind::Missing
            | FailureKind::Protocol
            | FailureKind::Other => {
                mark(&mut table.failed, peer, digest, now + FAILED);
                None
            }
            FailureKind::WrongBytes => {
                mark(&mut table.lied, peer, digest, now + QUARANTINE);
                Some(table.lie(peer, now))
            }
        }
    }

    /// A peer delivered.
    pub(super) fn delivered(&self, peer: Holder) {
        if let Some(record) = self.lock().peers.peek_mut(&peer) {
            record.in_a_row = 0;
        }
    }

    /// Another peer answered first, though it was asked later.
    pub(super) fn overtaken(&self, peer: Holder, now: Instant) {
        let mut table = self.lock();
        let record = table.record(peer, now);
        record.slow = record.slow.max(now + SLOW);
    }

    /// The peer gave bytes of an object that containerd then rejected.
    pub(super) fn suspect(&self, peer: Holder, digest: &Digest, now: Instant) {
        mark(&mut self.lock().lied, peer, digest, now + SUSPECT);
    }

    /// Whether any peer recently sent wrong bytes of the object.
    pub(super) fn is_suspect(&self, digest: &Digest, now: Instant) -> bool {
        let table = self.lock();
        let mut lied = table.lied.iter();
        lied.any(|((d, _), end)| *end > now && d == digest)
    }

    /// Who is not trusted now.
    pub(super) fn quarantines(&self, now: Instant) -> Vec<Quarantine> {
        let table = self.lock();
        let peers = table.liars.iter().map(|(p, l)| (*p, None, l.quarantine));
        let lied = table.lied.iter();
        let objects = lied.map(|((d, p), end)| (*p, Some(d.to_string()), *end));
        let lasting = peers.chain(objects).filter(|(_, _, end)| *end > now);
        let quarantine = |(peer, digest, end): (Holder, _, Instant)| Quarantine {
            peer,
            digest,
            ends_in_seconds: (end - now).as_secs(),
        };
        let mut quarantines: Vec<_> = lasting.map(quarantine).collect();
        quarantines.sort_by(|a, b| (&a.digest, a.peer).cmp(&(&b.digest, b.peer)));
        quarantines
    }

    fn lock(&self) -> MutexGuard<'_, PeerTable> {
        self.0.lock()
    }
}

impl PeerTable {
    fn is_liar(&self, source: &(Digest, Holder), now: Instant) -> bool {
        let liar = self.liars.peek(&source.1);
        lasts(self.lied.peek(source), now) || lasts(liar.map(|liar| &liar.quarantine), now)
    }

    fn record(&mut self, peer: Holder, now: Instant) -> &mut Record {
        self.peers.get_or_insert_mut(peer, || Record {
            out: now,
            slow: now,
            in_a_row: 0,
        })
    }

    /// Counts a lie. It puts the peer into quarantine for the object, or for all.
    fn lie(&mut self, peer: Holder, now: Instant) -> Scope {
        let liar = self.liars.get_or_insert_mut(peer, || Liar {
            quarantine: now,
            lies: 0,
            lied: now,
        });
        if now - liar.lied >= FORGOTTEN {
            liar.lies = 0;
        }
        liar.lied = now;
        liar.lies += 1;
        if liar.lies < LIES {
            return Scope::Object;
        }
        liar.lies = 0;
        liar.quarantine = now + QUARANTINE;
        Scope::Peer
    }
}

impl Default for PeerTable {
    fn default() -> Self {
        Self {
            peers: LruCache::new(MOST),
            liars: LruCache::new(MOST),
            failed: LruCache::new(MOST),
            lied: LruCache::new(MOST),
        }
    }
}

fn lasts(end: Option<&Instant>, now: Instant) -> bool {
    end.is_some_and(|end| *end > now)
}

/// Skips `peer` for an object until `end`, unless it is skipped for longer already.
fn mark(
    table: &mut LruCache<(Digest, Holder), Instant>,
    peer: Holder,
    digest: &Digest,
    end: Instant,
) {
    let until = table.get_or_insert_mut((digest.clone(), peer), || end);
    *until = end.max(*until);
}

#[cfg(test)]
mod tests;
