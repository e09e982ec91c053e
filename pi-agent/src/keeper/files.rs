//! Changes to the files, one at a time, and none after the final removal.

use std::{path::Path, sync::Arc};

use daemon::telemetry::chain;
use parking_lot::Mutex;

use super::held::{Fate, Held};
use crate::hosts::{
    entries::{Entries, EntryOutcome},
    place::Done,
    reach::Reach,
};

/// The files. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Files(Arc<Inner>);

/// The result of a pass over the files.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Files that were written.
    pub(super) changed: usize,
    /// What stands in the way, a sentence for each.
    pub(super) failures: Vec<String>,
}

#[derive(Debug)]
struct Inner {
    entries: Entries,
    /// The directory that was there at first.
    directory: Option<Held>,
    /// The others that containerd searched then.
    others: Vec<Held>,
    closed: Mutex<bool>,
}

impl Files {
    pub(super) fn new(entries: Entries) -> Self {
        let reach = entries.check().ok();
        let roots = reach.iter().flat_map(Reach::roots);
        let others = roots.filter(|root| **root != entries.hosts_dir);
        Self(Arc::new(Inner {
            directory: Held::hold(&entries.hosts_dir).ok(),
            others: others.filter_map(|root| Held::hold(root).ok()).collect(),
            entries,
            closed: Mutex::new(false),
        }))
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.0.entries
    }

    /// Makes the agent the first host, if containerd reads the files.
    pub(super) async fn publish(&self) -> Pass {
        self.blocking(|entries, closed| {
            if *closed {
                return Pass::default();
            }
            match entries.check() {
                Ok(_) => Pass::of(entries.publish()),
                Err(error) => Pass {
                    failures: vec![chain(&error).to_string()],
                    ..Pass::default()
                },
            }
        })
        .await
    }

    /// Takes the agent out.
    pub(super) async fn withdraw(&self) -> Pass {
        self.blocking(|entries, _| Pass::of(entries.withdraw()))
            .await
    }

    /// Removes the agent for good: operations in flight cannot put it back.
    pub(super) async fn close(&self) -> Pass {
        self.blocking(|entries, closed| {
            *closed = true;
            Pass::of(entries.withdraw())
        })
        .await
    }

    /// Why containerd would not ask the agent first.
    pub(super) async fn missing(&self) -> Vec<String> {
        let inner = Arc::clone(&self.0);
        let look = move || {
            // Files that containerd does not read are not in force.
            match inner.entries.check() {
                Ok(_) => inner.entries.missing(),
                Err(error) => vec![chain(&error).to_string()],
            }
        };
        run(look).await.unwrap_or_else(|failure| vec![failure])
    }

    /// The directory, if its path leads to another one than at first. In a container, what is mounted
    /// below it then shows through, and can only be read.
    pub(super) fn replaced(&self) -> Option<&Path> {
        let directory = self.0.directory.as_ref();
        let replaced = directory.filter(|held| held.fate() != Fate::Stays);
        replaced.map(Held::path)
    }

    /// A directory that was deleted and that is still what is looked at here, since this is a container
    /// in which it is mounted. What the node has at its path is not seen.
    pub(super) fn deleted(&self) -> Option<&Path> {
        let mut all = self.0.directory.iter().chain(&self.0.others);
        let deleted = all.find(|held| held.fate() == Fate::Deleted);
        deleted.map(Held::path)
    }

    /// A hung disk must not delay the probes.
    async fn blocking(
        &self,
        work: impl FnOnce(&Entries, &mut bool) -> Pass + Send + 'static,
    ) -> Pass {
        let inner = Arc::clone(&self.0);
        let locked = move || {
            let mut closed = inner.closed.lock();
            work(&inner.entries, &mut closed)
        };
        run(locked).await.unwrap_or_else(|failure| Pass {
            failures: vec![failure],
            ..Pass::default()
        })
    }
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| format!("the files could not be looked at: {error}"))
}

impl Pass {
    fn of(outcomes: Vec<EntryOutcome>) -> Self {
        let mut pass = Self::default();
        for outcome in outcomes {
            match outcome.result {
                Ok(Done::Unchanged) => {}
                Ok(Done::Written | Done::Restored | Done::Removed) => pass.changed += 1,
                Err(error) => pass.failures.push(chain(&error).to_string()),
            }
        }
        pass
    }
}
