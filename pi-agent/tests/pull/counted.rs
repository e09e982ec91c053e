//! What was counted in one test.

use std::{cell::RefCell, collections::BTreeMap};

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

/// Counts what the test's thread counts, which is all that its runtime does: it has one thread.
pub(crate) struct Counted {
    snapshotter: Snapshotter,
    /// A snapshot has what was counted since the one before.
    totals: RefCell<BTreeMap<String, u64>>,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

impl Counted {
    /// Begins to count. What takes handles of counters comes after it.
    pub(crate) fn begin() -> Self {
        // Leaked, as the recorder of a process is: the guard borrows it for as long as it counts.
        let recorder: &'static DebuggingRecorder = Box::leak(Box::default());
        Self {
            snapshotter: recorder.snapshotter(),
            totals: RefCell::default(),
            _recorder: metrics::set_default_local_recorder(recorder),
        }
    }

    /// The value of a counter, named as Prometheus does.
    pub(crate) fn of(&self, counter: &str) -> u64 {
        let mut totals = self.totals.borrow_mut();
        for (key, _, _, value) in self.snapshotter.snapshot().into_vec() {
            let DebugValue::Counter(count) = value else {
                continue;
            };
            let key = key.key();
            let labels = key.labels().map(|l| format!("{}={:?}", l.key(), l.value()));
            let labels = labels.collect::<Vec<_>>().join(",");
            let name = match &*labels {
                "" => key.name().to_owned(),
                labels => format!("{}{{{labels}}}", key.name()),
            };
            *totals.entry(name).or_default() += count;
        }
        totals.get(counter).copied().unwrap_or_default()
    }
}
