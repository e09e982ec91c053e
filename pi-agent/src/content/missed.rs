//! What containerd had to get elsewhere: the other part of the hit ratio by bytes.
//!
//! The length of an object that nobody here had is known only when containerd has committed it.

use std::num::NonZeroUsize;

use daemon::metric::Metric;
use lru::LruCache;
use parking_lot::Mutex;

use super::id::Id;
use crate::http::ByteRange;

pub(super) const BYTES: Metric = Metric::counter(
    "piccolo_agent_missed_bytes_total",
    &[],
    "Bytes that containerd got elsewhere, of objects that it had asked this agent for.",
);

/// Most objects that are remembered until containerd commits them. The one that was requested least
/// recently is evicted first: its pull has failed.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// By object the offset in bytes from which on containerd had to get it elsewhere.
#[derive(Debug)]
pub(crate) struct Missed(Mutex<LruCache<Id, u64>>);

impl Default for Missed {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CAPACITY)))
    }
}

impl Missed {
    /// An object, or a part of it, was not available.
    pub(crate) fn note(&self, id: Id, range: Option<ByteRange>) {
        let from = match range {
            Some(ByteRange::From(from) | ByteRange::Between(from, _)) => from,
            Some(ByteRange::Last(_)) | None => 0,
        };
        let mut misses = self.0.lock();
        let known = misses.get_or_insert_mut(id, || from);
        *known = from.min(*known);
    }

    /// An object of `size` bytes was committed: counts the bytes that did not come from here.
    pub(crate) fn committed(&self, id: &Id, size: u64) {
        let mut misses = self.0.lock();
        if let Some(from) = misses.pop(id) {
            metrics::counter!(BYTES.name).increment(size.saturating_sub(from));
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::{ByteRange, CAPACITY, Id, Missed};

    #[test]
    fn the_object_requested_least_recently_makes_room() {
        let missed = Missed::default();
        let id = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            Id::Sha256(bytes)
        };
        for n in 0..CAPACITY.get() {
            missed.note(id(n), None);
        }
        missed.note(id(0), Some(ByteRange::From(7)));
        missed.note(id(CAPACITY.get()), None);
        let known = missed.0.lock();
        let is_known = [0, 1, CAPACITY.get()].map(|n| known.contains(&id(n)));
        assert_eq!(is_known, [true, false, true]);
    }

    #[test]
    fn what_came_from_here_does_not_count() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || {
            let missed = Missed::default();
            let id = |n| Id::Sha256([n; 32]);
            missed.note(id(1), None);
            missed.committed(&id(1), 100);
            missed.committed(&id(1), 100);
            // The first 30 bytes came from a peer, and the end was asked for by itself.
            missed.note(id(2), Some(ByteRange::From(90)));
            missed.note(id(2), Some(ByteRange::From(30)));
            missed.committed(&id(2), 100);
            missed.committed(&id(3), 1000);
        });
        let values: Vec<_> = snapshotter.snapshot().into_vec();
        assert!(
            matches!(values[..], [(_, _, _, DebugValue::Counter(170))]),
            "{values:?}"
        );
    }
}
