//! One node, in memory.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, Ordering::Relaxed},
};

use piccolo_api::Load;

use super::handed_out::HandedOut;
use crate::store::{NodeKey, NodeRow, NodeState, Seen, Version};

/// What is known of a node beside its set. A new one was never seen.
#[derive(Debug, Default)]
pub(crate) struct Node {
    seen: AtomicI64,
    state: AtomicU8,
    /// `seen` or `state` is newer than in the database.
    unwritten: AtomicBool,
    uploads: AtomicU32,
    slots: AtomicU32,
    version: Mutex<Option<Version>>,
    handed_out: HandedOut,
}

impl Node {
    pub(super) fn is_alive(&self, since: i64) -> bool {
        self.seen.load(Relaxed) >= since && self.state() == NodeState::Up
    }

    /// A sign of life: it brings back one that was reported broken, or had left.
    pub(super) fn seen(&self, now: i64) {
        self.seen.fetch_max(now, Relaxed);
        self.put_state(NodeState::Up);
        self.mark_unwritten();
    }

    pub(super) fn stored(&self, now: i64, state: NodeState, version: Option<Version>) {
        self.seen.fetch_max(now, Relaxed);
        self.put_state(state);
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = version;
    }

    pub(super) fn merge(&self, row: &NodeRow) {
        // What is newer here than there is still to be written.
        if self.seen.fetch_max(row.seen, Relaxed) <= row.seen {
            self.put_state(row.state);
        }
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = row.version;
    }

    pub(super) fn mark_unwritten(&self) {
        self.unwritten.store(true, Relaxed);
    }

    pub(super) fn take_unwritten(&self, key: NodeKey) -> Option<Seen> {
        self.unwritten.swap(false, Relaxed).then(|| Seen {
            key,
            at: self.seen.load(Relaxed),
            state: self.state(),
        })
    }

    pub(crate) fn version(&self) -> Option<Version> {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn report_load(&self, load: Load) {
        self.uploads.store(load.uploads, Relaxed);
        self.slots.store(load.slots, Relaxed);
        self.handed_out.clear();
    }

    /// 0 idle, 1 all its slots taken; nothing of a node that never said.
    pub(crate) fn load(&self) -> Option<f32> {
        let slots = u16::try_from(self.slots.load(Relaxed)).unwrap_or(u16::MAX);
        let uploads = u16::try_from(self.uploads.load(Relaxed)).unwrap_or(u16::MAX);
        (slots > 0).then(|| (f32::from(uploads) / f32::from(slots)).min(1.0))
    }

    pub(crate) fn handed_out(&self) -> &HandedOut {
        &self.handed_out
    }

    fn state(&self) -> NodeState {
        NodeState::from_byte(self.state.load(Relaxed))
    }

    fn put_state(&self, state: NodeState) {
        self.state.store(state.byte(), Relaxed);
    }
}
