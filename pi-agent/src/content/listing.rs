//! Listing the content store over gRPC, for where its directory cannot be read.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::id::Id;
use crate::containerd::{Containerd, ContainerdError};

/// Between two listings when no event tells of a change.
const QUIET: Duration = Duration::from_secs(15);
/// From an event to the listing that it causes: changes come in crowds.
const GATHER: Duration = Duration::from_millis(200);
/// Garbage collection follows an image's removal within about a second, and says nothing itself.
const COLLECTION: Duration = Duration::from_millis(1500);

/// The list of what containerd has, and the reasons to ask for it again.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    containerd: Containerd,
    nudge: Arc<Notify>,
    echo: Arc<AtomicBool>,
}

impl Listing {
    pub(crate) fn new(containerd: Containerd) -> Self {
        Self {
            containerd,
            nudge: Arc::new(Notify::new()),
            echo: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Something changed in containerd.
    pub(crate) fn nudge(&self) {
        self.nudge.notify_one();
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

    /// Waits for a reason to list again.
    pub(crate) async fn pause(&self) {
        // Deletions lag behind the event that announces them: one more look, later.
        let wait = if self.echo.swap(false, Ordering::Relaxed) {
            COLLECTION
        } else {
            QUIET
        };
        if tokio::time::timeout(wait, self.nudge.notified())
            .await
            .is_ok()
        {
            tokio::time::sleep(GATHER).await;
            self.echo.store(true, Ordering::Relaxed);
        }
    }
}
