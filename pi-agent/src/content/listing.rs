//! Listing the content store over gRPC, for where its directory cannot be read.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tracing::debug;

use super::{expected::Expected, id::Id, remote::Remote};
use crate::{
    containerd::{Containerd, ContainerdError},
    digest::Digest,
};

/// Between two listings when no event tells of a change.
const QUIET: Duration = Duration::from_secs(15);
/// Delay from an event to the listing that it causes: changes come in bursts.
const GATHER: Duration = Duration::from_millis(200);
/// Garbage collection follows an image's removal within about a second, and sends no event.
const COLLECTION: Duration = Duration::from_millis(1500);

/// The list of containerd's content, and the reasons to request it again.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    containerd: Containerd,
    nudge: Arc<Notify>,
    echo: Arc<AtomicBool>,
    expected: Arc<Expected>,
}

impl Listing {
    pub(crate) fn new(containerd: Containerd) -> Self {
        Self {
            containerd,
            nudge: Arc::new(Notify::new()),
            echo: Arc::new(AtomicBool::new(false)),
            expected: Arc::default(),
        }
    }

    /// Something changed in containerd.
    pub(crate) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// containerd asked here for a blob that it does not have.
    pub(crate) fn expect(&self, digest: &Digest) {
        self.expected.add(digest);
    }

    /// Every blob of the shared namespaces with its size.
    pub(crate) async fn list(&self) -> Result<HashMap<Id, u64>, ContainerdError> {
        let mut present = HashMap::new();
        for namespace in self.containerd.namespaces() {
            let blobs = self.containerd.blobs(namespace).await?;
            present.extend(blobs.iter().map(|(digest, size)| (Id::from(digest), *size)));
        }
        Ok(present)
    }

    /// When to list again if nothing tells of a change.
    pub(crate) fn next(&self) -> Instant {
        // Deletions lag behind the event that announces them: list once more, later.
        let wait = if self.echo.swap(false, Ordering::Relaxed) {
            COLLECTION
        } else {
            QUIET
        };
        Instant::now() + wait
    }

    /// The next commit that was expected, with the blob's size, or `None` when it is time to list
    /// again: at `next`, or after a change.
    pub(crate) async fn commit(&self, next: Instant) -> Option<(Id, u64)> {
        loop {
            let digest = tokio::select! {
                () = self.nudge.notified() => {
                    tokio::time::sleep(GATHER).await;
                    self.echo.store(true, Ordering::Relaxed);
                    return None;
                }
                () = tokio::time::sleep_until(next) => return None,
                digest = self.expected.due() => digest,
            };
            match Remote::find(&self.containerd, &digest).await {
                Ok(Some((_, size))) => {
                    self.expected.came(&digest);
                    return Some((Id::from(&digest), size));
                }
                Ok(None) => {}
                Err(error) => {
                    debug!(%digest, error = %daemon::telemetry::chain(&error), "not looked for");
                    return None;
                }
            }
        }
    }
}
