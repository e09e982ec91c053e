//! Changes to the files, one at a time, and none after the final removal.

use std::{fs, os::unix::fs::MetadataExt as _, sync::Arc};

use daemon::telemetry::chain;
use parking_lot::Mutex;

use crate::hosts::{
    entries::{Entries, Outcome},
    place::Done,
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
    /// Device and inode of the directory that was there at first.
    found: Option<(u64, u64)>,
    closed: Mutex<bool>,
}

impl Files {
    pub(super) fn new(entries: Entries) -> Self {
        let found = fs::metadata(&entries.hosts_dir).ok();
        Self(Arc::new(Inner {
            found: found.map(|found| (found.dev(), found.ino())),
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

    /// Whether the directory is another one than at first. In a container its mount then leads to
    /// the old one, or can only be read.
    pub(super) fn replaced(&self) -> bool {
        let now = fs::metadata(&self.0.entries.hosts_dir).ok();
        let same =
            now.is_some_and(|now| now.nlink() > 0 && self.0.found == Some((now.dev(), now.ino())));
        self.0.found.is_some() && !same
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
    fn of(outcomes: Vec<Outcome>) -> Self {
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
