//! Whom to ask: who has an object, and who is not asked for a while.

mod candidates;
mod count;
mod crowd;
mod finder;
mod health;
mod hints;
mod named;
mod seat;

pub(crate) use self::crowd::{Member, MemberView};
pub(super) use self::{
    candidates::Candidates,
    count::{FAILURES, HANDED_OVER, LOST, QUARANTINED, QUARANTINES, SLOW, TURNS},
    hints::Hints,
};
pub use self::{
    finder::{Finder, Joined},
    health::Quarantine,
};

use std::{sync::Arc, time::Duration};

use daemon::scope::Scope;
use parking_lot::Mutex;
use piccolo_api::{Holder, PeerState};
use tokio::time::Instant;
use tracing::debug;

use self::{
    count::Counts,
    crowd::Crowds,
    health::{Health, Standing},
    seat::{BUDGET, Seat},
};
use super::{
    exchange::PeerError,
    settings::{FetchSettings, Swarm},
};
use crate::{
    content::{Growing, manifest::Descriptor},
    digest::Digest,
    here::Here,
    jitter::Jitter,
    reach::Reach,
};

/// The peers as this node knows them.
#[derive(Debug)]
pub(super) struct Peers {
    /// This node, which is never asked.
    here: Here,
    /// Where other nodes may be.
    reach: Reach,
    finder: Arc<dyn Finder>,
    /// The crowds that this node is in; `None` where it takes no part in any.
    crowds: Option<Crowds>,
    health: Health,
    counts: Counts,
    jitter: Jitter,
    /// How long a node of a crowd is without a byte before the server's budget for the registry decides.
    busy: Duration,
    /// When a wait for a little object last ran out.
    gave_up: Mutex<Option<Instant>>,
}

/// For how long a node waits for others that may be getting the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// As long as it has to, before the server's budget for the registry decides.
    Whole,
    /// [`BRIEF`].
    Brief,
}

/// How long a node may be without what is little, such as a manifest. All nodes may ask the registry for that
/// after it, so it is long for the first of them, and short for a pull.
const BRIEF: Duration = Duration::from_secs(2);
/// How long no little object is waited for after such a wait ran out.
const AFTER_GIVING_UP: Duration = Duration::from_secs(30);

impl Peers {
    /// Peers that `finder` names, of which this node itself is never asked.
    pub(super) fn new(finder: Box<dyn Finder>, settings: &FetchSettings, scope: &Scope) -> Self {
        let finder: Arc<dyn Finder> = finder.into();
        let crowds = match settings.swarm {
            Swarm::On => Some(Crowds::new(Arc::clone(&finder), scope.clone())),
            Swarm::Off => None,
        };
        Self {
            here: settings.here.clone(),
            reach: settings.reach.clone(),
            finder,
            crowds,
            health: Health::default(),
            counts: Counts::new(),
            jitter: Jitter::random(),
            busy: settings.swarm_busy,
            gave_up: Mutex::default(),
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

    /// Whether this node takes part in crowds.
    pub(super) fn has_crowds(&self) -> bool {
        self.crowds.is_some()
    }

    /// The crowds that this node is in.
    pub(super) fn crowds(&self) -> Vec<MemberView> {
        let crowds = self.crowds.as_ref();
        crowds.map(Crowds::view).unwrap_or_default()
    }

    /// Asks whom to take a blob from that this node is about to get from byte `at` on, together with
    /// others; `None` where it is left to the registry.
    pub(super) async fn join(
        self: &Arc<Self>,
        growing: &Arc<Growing>,
        at: u64,
        patience: Patience,
    ) -> Option<Candidates> {
        let mut candidates = Candidates::new(Arc::clone(self), growing.digest().clone());
        let crowds = self.crowds.as_ref()?;
        let member = crowds.member(growing);
        let finder = Arc::clone(&self.finder);
        let (digest, jitter) = (growing.digest().clone(), self.jitter.clone());
        let patience = match patience {
            Patience::Whole => self.busy + BUDGET,
            Patience::Brief => BRIEF.min(self.busy + BUDGET),
        };
        let seat = Seat::new(finder, member, digest, (jitter, patience));
        candidates.sit(seat, growing);
        candidates.ask_again(at).await.then_some(candidates)
    }

    /// Whether others are waited for that are getting something little.
    pub(super) fn may_wait(&self) -> bool {
        let gave_up = *self.gave_up.lock();
        gave_up.is_none_or(|since| since.elapsed() >= AFTER_GIVING_UP)
    }

    /// A fetch of something little has ended that began at `since`.
    pub(super) fn waited(&self, since: Instant, is_there: bool) {
        if !is_there && since.elapsed() >= BRIEF / 2 {
            *self.gave_up.lock() = Some(Instant::now());
        }
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

    /// containerd refused what was taken in a crowd by the chunk list of `maker`.
    pub(super) fn refused(&self, digest: &Digest, maker: Holder) {
        if let Some(crowds) = &self.crowds {
            crowds.refused(digest, maker);
        }
    }

    /// Whether any peer recently sent wrong bytes of the object.
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

    /// Whether a peer sent wrong bytes of an object, or of several others, and is in quarantine for it.
    fn has_lied(&self, peer: Holder, digest: &Digest) -> bool {
        self.health.has_lied(peer, digest, Instant::now())
    }

    /// How a peer stands as a source of an object.
    fn standing(&self, peer: Holder, digest: &Digest) -> Standing {
        self.health.standing(peer, digest, Instant::now())
    }
}
