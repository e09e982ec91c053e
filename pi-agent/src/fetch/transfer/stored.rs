//! Whether an object has arrived on this node in the meantime.

use std::{sync::Arc, time::Duration};

use daemon::scope::Scope;
use tokio::time::timeout;
use tracing::Span;

use super::{small::Smalls, turn::QueuePosition};
use crate::{
    content::{Content, Object},
    digest::Digest,
};

/// How long waiting requests are held for containerd's commit, so that they need not fetch the
/// object too.
const STORED: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(10);

/// What this node has stored, and what was fetched into memory just now.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    content: Content,
    smalls: Arc<Smalls>,
    scope: Scope,
}

impl Stored {
    /// `content`, and what `smalls` keeps; who waits does so in `scope`.
    pub(crate) fn new(content: Content, smalls: Arc<Smalls>, scope: Scope) -> Self {
        Self {
            content,
            smalls,
            scope,
        }
    }

    /// Whether the object is there.
    pub(crate) async fn has(&self, digest: &Digest) -> bool {
        self.smalls.has(digest) || self.open(digest).await.is_some()
    }

    /// The object, if containerd has stored it.
    pub(crate) async fn open(&self, digest: &Digest) -> Option<Object> {
        self.content.open(digest).await.ok().flatten()
    }

    /// Holds `place` until the object is stored, up to a deadline.
    pub(super) fn hold(self, place: QueuePosition, digest: Digest) {
        let scope = self.scope.clone();
        scope.task(Span::none(), async move {
            let stored = async {
                while !self.has(&digest).await {
                    tokio::time::sleep(LOOK).await;
                }
            };
            // After the deadline a waiting request fetches the object again, which costs only
            // bytes.
            let _ = timeout(STORED, stored).await;
            drop(place);
        });
    }
}
