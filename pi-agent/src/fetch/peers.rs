//! Whom to ask: who has an object, and who is not asked for a while.

mod candidates;
mod count;
mod finder;
mod health;
mod hints;
mod named;

pub(super) use self::{
    candidates::Candidates,
    count::{FAILURES, QUARANTINED, QUARANTINES},
    hints::Hints,
};
pub use self::{finder::Finder, health::Quarantine};

use std::sync::Arc;

use piccolo_api::{Holder, PeerState};
use tokio::time::Instant;
use tracing::debug;

use self::{
    count::Counts,
    health::{Health, Standing},
};
use super::exchange::PeerError;
use crate::{content::manifest::Descriptor, digest::Digest};

/// The peers as this node knows them.
#[derive(Debug)]
pub(super) struct Peers {
    /// This node, which is never asked.
    own: Option<Holder>,
    finder: Box<dyn Finder>,
    health: Health,
    counts: Counts,
}

impl Peers {
    /// Peers that `finder` names; `own` is never asked.
    pub(super) fn new(finder: Box<dyn Finder>, own: Option<Holder>) -> Self {
        Self {
            own,
            finder,
            health: Health::default(),
            counts: Counts::new(),
        }
    }

    /// Asks who has an object, and leaves out whom not to ask.
    pub(super) async fn find(self: &Arc<Self>, digest: &Digest) -> Candidates {
        let found = self.finder.find(digest).await;
        let complete = found.iter().filter(|p| p.state == PeerState::Complete);
        let mut candidates = Candidates::new(Arc::clone(self), digest.clone());
        candidates.add(complete.map(|p| p.addr));
        candidates
    }

    /// The objects will be looked for soon. Returns at once.
    pub(super) fn prefetch(&self, children: &[Descriptor]) {
        self.finder.prefetch(children);
    }

    /// A peer delivered.
    pub(super) fn delivered(&self, peer: Holder) {
        self.health.delivered(peer);
    }

    /// A peer failed an object: notes it everywhere where it matters.
    pub(super) fn failed(&self, peer: Holder, digest: &Digest, error: &PeerError) {
        let kind = error.kind();
        debug!(%peer, %digest, error = %daemon::telemetry::chain(error), "a peer failed");
        Counts::failure(kind);
        if let Some(scope) = self.health.failed(peer, digest, kind, Instant::now()) {
            self.counts.quarantine(scope);
        }
        self.finder.failed(peer, kind);
    }

    /// The peer gave bytes of an object that containerd then rejected.
    pub(super) fn suspect(&self, peer: Holder, digest: &Digest) {
        self.health.suspect(peer, digest, Instant::now());
        self.counts.quarantine(health::Scope::Object);
    }

    /// Whether wrong bytes of the object were seen lately, from whomever.
    pub(super) fn is_suspect(&self, digest: &Digest) -> bool {
        self.health.is_suspect(digest, Instant::now())
    }

    /// Peers that are not trusted now.
    pub(super) fn quarantines(&self) -> Vec<Quarantine> {
        self.health.quarantines(Instant::now())
    }

    /// Counts who is in quarantine.
    pub(super) fn tidy(&self) {
        self.counts.quarantined(self.quarantines().len());
    }

    /// How a peer stands as a source of an object.
    fn standing(&self, peer: Holder, digest: &Digest) -> Standing {
        self.health.standing(peer, digest, Instant::now())
    }
}
