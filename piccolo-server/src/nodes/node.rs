//! One node, in memory.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use parking_lot::{Mutex, MutexGuard};
use piccolo_api::Load;

use super::{Stored, handed_out::HandedOut, life::Life, sources::Sources};
use crate::{
    key_hash::Fingerprint,
    patience::{Agent, Since},
    store::{NodeKey, NodeRow, NodeState, Seen, SpaceId, Version},
};

/// A node's state besides its set. A new node has no keepalive yet.
///
/// A find reads some hundred nodes: the fields that it needs lie together, for the processor's
/// cache.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// A [`Life`].
    life: AtomicU64,
    handed_out: HandedOut,
    /// The share of its slots in use, in units of 1/[`FULL`], plus one; 0 if it never reported.
    load: AtomicU32,
    is_go_agent: AtomicBool,
    rest: Box<Rest>,
}

/// Fields that finds do not read.
#[derive(Debug, Default)]
struct Rest {
    /// The [`Life`] that the database has, as far as it is known here.
    written: AtomicU64,
    set: Mutex<Set>,
}

/// A node's set, as far as it is known here.
#[derive(Debug, Default, Clone, Copy)]
struct Set {
    version: Option<Version>,
    held: Fingerprint,
    /// From where it was last changed, as far as it was by this instance.
    source: Option<IpAddr>,
}

/// The present, and what of the future can be the present of an instance whose clock differs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present {
    pub(super) now: i64,
    /// Later times are those of a clock that was ahead.
    pub(super) latest: i64,
}

/// All of a node's slots.
const FULL: u16 = u16::MAX;

impl Node {
    pub(super) fn is_alive(&self, since: Since) -> bool {
        self.state() == NodeState::Up && self.is_heard(since)
    }

    /// Whether it has sent a call since then.
    pub(super) fn is_heard(&self, since: Since) -> bool {
        self.heard() >= since.of(self.agent())
    }

    pub(super) fn agent(&self) -> Agent {
        if self.is_go_agent.load(Relaxed) {
            Agent::Go
        } else {
            Agent::Own
        }
    }

    fn is_of(&self, agent: Agent) {
        self.is_go_agent.store(agent == Agent::Go, Relaxed);
    }

    /// A keepalive: it brings back a node that was reported broken, or had left.
    pub(super) fn seen(&self, present: Present) {
        self.learn(Life::new(present.now, NodeState::Up), present);
    }

    /// Several peers reported that it does not deliver.
    pub(super) fn broken(&self, present: Present) {
        self.learn(Life::new(present.now, NodeState::Broken), present);
    }

    /// A change was stored. Returns whether it changed the set that was known here.
    pub(super) fn stored(&self, stored: &Stored, present: Present, sources: &Sources) -> bool {
        self.is_of(stored.agent);
        self.learn(Life::new(stored.at, stored.state), present);
        if let Some(written) = stored.written {
            let written = Life::new(written, stored.state);
            self.learn(written, present);
            self.is_written(written, present);
        }
        self.put((stored.version, stored.held), sources) == stored.before
    }

    /// Merges the database's row. Returns whether the row is later than what this instance wrote,
    /// or has another set.
    pub(super) fn merge(&self, row: &NodeRow, present: Present, sources: &Sources) -> bool {
        self.is_of(row.agent);
        let life = Life::new(row.seen, row.state);
        let before = self.is_written(life, present);
        // A time of the future counts once, not each time that it is read.
        if before != life {
            self.learn(life, present);
        }
        let known = self.put((row.version, row.held), sources);
        before < life || known != row.held
    }

    /// Whether the database has a time of the future.
    pub(super) fn is_ahead(&self, present: Present) -> bool {
        self.written().at() > present.latest
    }

    /// The database's times of the future were moved to `to`.
    pub(super) fn rewound(&self, present: Present, to: i64) {
        let written = self.written();
        if written.at() > present.latest {
            let now = written.moved(to);
            self.rest.written.store(now.number(), Relaxed);
        }
    }

    /// What to write to the database: a change of the state, or a keepalive that is `lazy`
    /// milliseconds newer than the database's. It counts as written from here on.
    pub(super) fn take_unwritten(&self, key: NodeKey, lazy: i64) -> Option<Seen> {
        let (life, written) = (self.life(), self.written());
        if life <= written
            || life.state() == written.state() && life.at() - written.at() < lazy.max(1)
        {
            return None;
        }
        self.rest.written.fetch_max(life.number(), Relaxed);
        Some(Seen {
            key,
            at: life.at(),
            state: life.state(),
        })
    }

    /// The write failed.
    pub(super) fn mark_unwritten(&self) {
        self.rest.written.store(Life::NONE.number(), Relaxed);
    }

    /// When it sent its last call.
    pub(super) fn heard(&self) -> i64 {
        self.life().at()
    }

    /// How many keys it has.
    pub(super) fn held(&self) -> u32 {
        self.set().held.count
    }

    /// The address from which its set was last changed, if that is known here.
    pub(super) fn source(&self) -> Option<IpAddr> {
        self.set().source
    }

    /// Its set was changed from that address.
    pub(super) fn belongs_to(&self, source: IpAddr, space: SpaceId, sources: &Sources) {
        let mut set = self.set();
        if set.source != Some(source) {
            if let Some(before) = set.source {
                sources.remove(before, space, set.held.count);
            }
            sources.add(source, space, set.held.count);
            set.source = Some(source);
        }
    }

    pub(crate) fn version(&self) -> Option<Version> {
        self.set().version
    }

    pub(crate) fn report_load(&self, load: Load) {
        let taken = u64::from(load.uploads) * u64::from(FULL);
        let share = taken.checked_div(load.slots.into());
        let share = share.map_or(0, |share| share.min(FULL.into()) + 1);
        let share = u32::try_from(share).unwrap_or(0);
        self.load.store(share, Relaxed);
        self.handed_out.clear();
    }

    /// 0 idle, 1 all slots in use; `None` if the node never reported.
    pub(crate) fn load(&self) -> Option<f32> {
        let share = self.load.load(Relaxed).checked_sub(1)?;
        let share = u16::try_from(share).unwrap_or(FULL);
        Some(f32::from(share) / f32::from(FULL))
    }

    pub(crate) fn handed_out(&self) -> &HandedOut {
        &self.handed_out
    }

    pub(super) fn state(&self) -> NodeState {
        self.life().state()
    }

    fn life(&self) -> Life {
        Life::from_number(self.life.load(Relaxed))
    }

    /// Takes the later of two, where neither lies in the future.
    fn learn(&self, life: Life, present: Present) {
        let life = present.bound(life);
        let later = |known| {
            let known = present.bound(Life::from_number(known));
            Some(known.max(life).number())
        };
        let _ = self.life.fetch_update(Relaxed, Relaxed, later);
    }

    fn written(&self) -> Life {
        Life::from_number(self.rest.written.load(Relaxed))
    }

    /// The database has this: the later of two, unless that lies in the future. Returns what was known.
    fn is_written(&self, life: Life, present: Present) -> Life {
        let later = |known| {
            let known = Life::from_number(known);
            let is_ahead = known.at() > present.latest;
            Some(if is_ahead { life } else { known.max(life) }.number())
        };
        let before = self.rest.written.fetch_update(Relaxed, Relaxed, later);
        Life::from_number(before.unwrap_or_else(|known| known))
    }

    /// Takes times of the future back.
    pub(super) fn settle(&self, present: Present) {
        if self.life().at() > present.latest {
            self.learn(Life::NONE, present);
        }
    }

    fn set(&self) -> MutexGuard<'_, Set> {
        self.rest.set.lock()
    }

    /// Returns what it held before, as far as known.
    fn put(
        &self,
        (version, held): (Option<Version>, Fingerprint),
        sources: &Sources,
    ) -> Fingerprint {
        let mut set = self.set();
        if let Some(source) = set.source {
            sources.keys(source, set.held.count, held.count);
        }
        set.version = version;
        std::mem::replace(&mut set.held, held)
    }
}

impl Present {
    /// A time of the future, as just before now.
    fn bound(self, life: Life) -> Life {
        if life.at() > self.latest {
            life.moved(self.now - 1)
        } else {
            life
        }
    }
}
