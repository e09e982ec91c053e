//! Which peers are not asked for a while, and why.
//!
//! A peer that is down is left alone for all objects, one that failed an object for that object.
//! One that gave wrong bytes is in quarantine for that object, and for all after it did so
//! repeatedly. All of it ends by itself.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use piccolo_api::{FailureKind, Holder};
use tokio::time::Instant;

use crate::digest::Digest;

/// For how long a peer that is down is left alone; doubled with each failure in a row.
const DOWN: Duration = Duration::from_secs(5);
const DOWN_MOST: Duration = Duration::from_mins(1);
/// For how long a peer is not asked for an object that it failed.
const FAILED: Duration = Duration::from_secs(10);
/// For how long a peer that another one overtook is asked last.
const SLOW: Duration = Duration::from_secs(5);
/// For how long a peer is asked last that had no time.
const BUSY: Duration = Duration::from_secs(1);
/// For how long a peer is not asked for an object whose bytes were wrong after it gave some.
const SUSPECT: Duration = Duration::from_mins(5);
/// For how long a liar is not asked for the object, or for anything once it lied often.
const QUARANTINE: Duration = Duration::from_mins(10);
/// Objects of which a peer gave wrong bytes, none longer than this after the one before, until it is
/// trusted in nothing. What looks like a lie now and then is none: a pull was given up at its end.
const LIES: u32 = 3;
const FORGOTTEN: Duration = Duration::from_hours(1);
/// Most entries of each table.
const MOST: usize = 4096;

/// What is remembered of peers that failed.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Table>);

/// How a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Nothing is known against it.
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
    /// That, and from now on all others.
    Peer,
}

/// A peer that is not trusted for a while.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Quarantine {
    /// The peer.
    pub peer: Holder,
    /// The object for which it is not trusted; in nothing where it is not given.
    pub digest: Option<String>,
    /// When it ends, in seconds from now.
    pub ends_in_seconds: u64,
}

#[derive(Debug, Default)]
struct Table {
    peers: BTreeMap<Holder, Record>,
    objects: BTreeMap<(Digest, Holder), Mark>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    out: Instant,
    slow: Instant,
    quarantine: Instant,
    in_a_row: u32,
    lies: u32,
    lied: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    out: Instant,
    lied: bool,
}

impl Health {
    /// How `peer` stands as a source of an object.
    pub(super) fn standing(&self, peer: Holder, digest: &Digest, now: Instant) -> Standing {
        let table = self.lock();
        let mark = table.objects.get(&(digest.clone(), peer));
        if mark.is_some_and(|m| m.out > now) {
            return Standing::Out;
        }
        match table.peers.get(&peer) {
            Some(record) if record.out > now || record.quarantine > now => Standing::Out,
            Some(record) if record.slow > now => Standing::Slow,
            Some(_) | None => Standing::Good,
        }
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
            FailureKind::Refused | FailureKind::Unreachable | FailureKind::Stalled => {
                let record = table.record(peer, now);
                let doubled = DOWN.saturating_mul(1 << record.in_a_row.min(8));
                record.out = now + doubled.min(DOWN_MOST);
                record.in_a_row += 1;
            }
            FailureKind::Busy => {
                let record = table.record(peer, now);
                record.slow = record.slow.max(now + BUSY);
            }
            FailureKind::Cut
            | FailureKind::Missing
            | FailureKind::Protocol
            | FailureKind::Other => table.mark(peer, digest, now + FAILED, false, now),
            FailureKind::WrongBytes => {
                table.mark(peer, digest, now + QUARANTINE, true, now);
                let record = table.record(peer, now);
                if now - record.lied >= FORGOTTEN {
                    record.lies = 0;
                }
                record.lied = now;
                record.lies += 1;
                if record.lies >= LIES {
                    record.lies = 0;
                    record.quarantine = now + QUARANTINE;
                    return Some(Scope::Peer);
                }
                return Some(Scope::Object);
            }
        }
        None
    }

    /// A peer delivered.
    pub(super) fn delivered(&self, peer: Holder) {
        if let Some(record) = self.lock().peers.get_mut(&peer) {
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
        self.lock().mark(peer, digest, now + SUSPECT, true, now);
    }

    /// Whether wrong bytes of the object were seen lately, from whomever.
    pub(super) fn is_suspect(&self, digest: &Digest, now: Instant) -> bool {
        let table = self.lock();
        let from = (digest.clone(), lowest());
        let mut marks = table
            .objects
            .range(from..)
            .take_while(|((d, _), _)| d == digest);
        marks.any(|(_, mark)| mark.lied && mark.out > now)
    }

    /// Who is not trusted now.
    pub(super) fn quarantines(&self, now: Instant) -> Vec<Quarantine> {
        let table = self.lock();
        let peers = table.peers.iter().map(|(p, r)| (*p, None, r.quarantine));
        let lied = table.objects.iter().filter(|(_, mark)| mark.lied);
        let objects = lied.map(|((d, p), m)| (*p, Some(d.to_string()), m.out));
        peers
            .chain(objects)
            .filter(|(_, _, end)| *end > now)
            .map(|(peer, digest, end)| Quarantine {
                peer,
                digest,
                ends_in_seconds: (end - now).as_secs(),
            })
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn record(&mut self, peer: Holder, now: Instant) -> &mut Record {
        if self.peers.len() >= MOST && !self.peers.contains_key(&peer) {
            self.peers
                .retain(|_, r| r.out > now || r.slow > now || r.quarantine > now);
            while self.peers.len() >= MOST {
                self.peers.pop_first();
            }
        }
        self.peers.entry(peer).or_insert(Record {
            out: now,
            slow: now,
            quarantine: now,
            in_a_row: 0,
            lies: 0,
            lied: now,
        })
    }

    fn mark(&mut self, peer: Holder, digest: &Digest, out: Instant, lied: bool, now: Instant) {
        if self.objects.len() >= MOST {
            self.objects.retain(|_, mark| mark.out > now);
            while self.objects.len() >= MOST {
                self.objects.pop_first();
            }
        }
        let mark = self
            .objects
            .entry((digest.clone(), peer))
            .or_insert(Mark { out, lied });
        mark.out = mark.out.max(out);
        mark.lied |= lied;
    }
}

/// Comes before every holder.
fn lowest() -> Holder {
    Holder::new(([0, 0, 0, 1], 1).into()).expect("the address and port are not zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> Digest {
        let text = format!("sha256:{}", letter.to_string().repeat(64));
        text.parse().unwrap()
    }

    #[test]
    fn a_quarantine_ends_by_itself() {
        let health = Health::default();
        let (peer, now) = (lowest(), Instant::now());
        let lie = |letter| health.failed(peer, &digest(letter), FailureKind::WrongBytes, now);
        assert_eq!(lie('a'), Some(Scope::Object));
        assert_eq!(health.standing(peer, &digest('a'), now), Standing::Out);
        assert_eq!(health.standing(peer, &digest('f'), now), Standing::Good);
        lie('b');
        assert_eq!(lie('c'), Some(Scope::Peer));
        assert_eq!(health.standing(peer, &digest('f'), now), Standing::Out);
        assert_eq!(health.quarantines(now).len(), 4);
        let after = now + QUARANTINE;
        assert_eq!(health.standing(peer, &digest('a'), after), Standing::Good);
        assert!(health.quarantines(after).is_empty());
        assert!(!health.is_suspect(&digest('a'), after));
    }

    #[test]
    fn lies_are_forgotten_after_a_while() {
        let health = Health::default();
        let (peer, mut now) = (lowest(), Instant::now());
        for letter in ['a', 'b', 'c', 'd', 'e'] {
            let scope = health.failed(peer, &digest(letter), FailureKind::WrongBytes, now);
            assert_eq!(scope, Some(Scope::Object));
            now += FORGOTTEN;
        }
    }

    #[test]
    fn a_peer_that_stays_away_is_asked_ever_less_often() {
        let health = Health::default();
        let (peer, mut now) = (lowest(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..6 {
            health.failed(peer, &digest('a'), FailureKind::Refused, now);
            let mut pause = Duration::ZERO;
            while health.standing(peer, &digest('b'), now + pause) == Standing::Out {
                pause += Duration::from_secs(1);
            }
            pauses.push(pause.as_secs());
            now += pause;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        health.delivered(peer);
        health.failed(peer, &digest('a'), FailureKind::Refused, now);
        assert_eq!(
            health.standing(peer, &digest('b'), now + DOWN),
            Standing::Good
        );
    }

    #[test]
    fn the_tables_are_bounded() {
        let health = Health::default();
        let now = Instant::now();
        for port in 1..=u16::try_from(MOST + 100).unwrap() {
            let peer = Holder::new(([10, 0, 0, 1], port).into()).unwrap();
            health.failed(peer, &digest('a'), FailureKind::WrongBytes, now);
        }
        let table = health.lock();
        assert_eq!(table.objects.len(), MOST);
        assert!((1..=MOST).contains(&table.peers.len()));
    }
}
