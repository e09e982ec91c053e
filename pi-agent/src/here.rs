//! Where peers reach this node. It may change while the agent runs.

use std::sync::Arc;

use piccolo_api::Holder;
use tokio::sync::watch;

/// The address that peers are told; clones are the same. `None` where they are told none.
#[derive(Debug, Clone)]
pub struct Here(Arc<watch::Sender<Option<Holder>>>);

impl Here {
    /// Where it is now.
    pub fn get(&self) -> Option<Holder> {
        *self.0.borrow()
    }

    /// From now on it is there.
    pub fn set(&self, holder: Holder) {
        self.0.send_replace(Some(holder));
    }

    /// Waits until it is elsewhere than at `known`.
    pub(crate) async fn other_than(&self, known: Holder) -> Holder {
        let mut now = self.0.subscribe();
        let moved = now.wait_for(|holder| holder.is_some_and(|holder| holder != known));
        match moved.await.map(|holder| *holder) {
            Ok(Some(holder)) => holder,
            // The sender lives as long as `self`, and what is waited for is some.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

/// Of a node that peers are told nothing of.
impl Default for Here {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl From<Holder> for Here {
    fn from(holder: Holder) -> Self {
        Self(Arc::new(watch::Sender::new(Some(holder))))
    }
}
