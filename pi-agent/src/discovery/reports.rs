//! Reports about peers to the server: failures and measurements.

use std::{collections::BTreeMap, fmt, sync::OnceLock};

use parking_lot::Mutex;
use piccolo_api::{Failure, FailureKind, Holder, Load, Observation};

/// Most failures, by peer and kind, in one report.
const MAX_FAILURES: usize = 512;

/// Returns the measurements since its last call.
pub type ObservationSource = Box<dyn Fn() -> Vec<Observation> + Send + Sync>;
/// Gives the load of this moment.
pub type LoadSource = Box<dyn Fn() -> Load + Send + Sync>;

#[derive(Default)]
pub(crate) struct Reports {
    failures: Mutex<BTreeMap<(Holder, FailureKind), u32>>,
    sources: OnceLock<(ObservationSource, LoadSource)>,
}

/// What goes with one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub(crate) observations: Vec<Observation>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) load: Option<Load>,
}

impl Reports {
    pub(crate) fn failed(&self, peer: Holder, kind: FailureKind) {
        let mut failures = self.failures.lock();
        if failures.len() < MAX_FAILURES || failures.contains_key(&(peer, kind)) {
            let count = failures.entry((peer, kind)).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Sources can be set once; later ones are ignored.
    pub(crate) fn observe(&self, observations: ObservationSource, load: LoadSource) {
        let _ = self.sources.set((observations, load));
    }

    /// Takes all measurements and failures for a report.
    pub(crate) fn take(&self) -> Report {
        let failures = std::mem::take(&mut *self.failures.lock());
        let failures =
            failures
                .into_iter()
                .map(|((peer, kind), count)| Failure { peer, kind, count });
        let sources = self.sources.get();
        Report {
            observations: sources
                .map(|(observations, _)| observations())
                .unwrap_or_default(),
            failures: failures.collect(),
            load: sources.map(|(_, load)| load()),
        }
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports")
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}
