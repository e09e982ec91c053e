//! What containerd had to get elsewhere: the other part of the hit ratio by bytes.
//!
//! The length of an object that nobody here had is known only when containerd has committed it.

use std::{collections::HashMap, time::Duration};

use daemon::metric::Metric;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::id::Id;
use crate::http::ByteRange;

pub(super) const BYTES: Metric = Metric::counter(
    "piccolo_agent_missed_bytes_total",
    &[],
    "Bytes that containerd got elsewhere, of objects that it had asked this agent for.",
);

/// Objects that are waited for.
const CAPACITY: usize = 4096;
/// What is not committed by then belongs to a pull that failed.
const PATIENCE: Duration = Duration::from_mins(30);

#[derive(Debug, Default)]
pub(crate) struct Missed(Mutex<HashMap<Id, Miss>>);

#[derive(Debug)]
struct Miss {
    at: Instant,
    /// What came before was given to containerd.
    from: u64,
}

impl Missed {
    /// An object, or a part of it, was not available.
    pub(crate) fn note(&self, id: Id, range: Option<ByteRange>) {
        let now = Instant::now();
        let from = match range {
            Some(ByteRange::From(from) | ByteRange::Between(from, _)) => from,
            Some(ByteRange::Last(_)) | None => 0,
        };
        let mut misses = self.0.lock();
        if misses.len() >= CAPACITY {
            misses.retain(|_, miss| now - miss.at < PATIENCE);
        }
        if misses.len() < CAPACITY {
            let miss = misses.entry(id).or_insert(Miss { at: now, from });
            miss.from = miss.from.min(from);
        }
    }

    /// An object of `size` bytes was committed: counts what of it did not come from here.
    pub(crate) fn committed(&self, id: &Id, size: u64) {
        let mut misses = self.0.lock();
        if let Some(miss) = misses.remove(id) {
            metrics::counter!(BYTES.name).increment(size.saturating_sub(miss.from));
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::{ByteRange, Id, Missed};

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
