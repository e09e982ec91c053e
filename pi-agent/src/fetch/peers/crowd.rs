//! Crowds that this node is in: blobs that it fetches while others do, from whom the server says.
//!
//! The server is told how far this node is: each second while its containerd takes the bytes from
//! the registry by a permit, now and then otherwise, and at once when it ends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use daemon::{scope::Scope, spell::Spell};
use parking_lot::{Mutex, MutexGuard};
use piccolo_api::{End, Holder, Progress, Rank, Standing, Tried};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tracing::{Span, debug, info};

use super::{
    Finder,
    count::{self, LOST},
};
use crate::{content::Growing, digest::Digest};

/// Between two reports of a node that has a permit, and of one that has none.
const PERMITTED: Duration = Duration::from_secs(1);
const OTHERWISE: Duration = Duration::from_secs(20);
/// Sources that were given up and are still to be told of.
const MOST_TRIED: usize = 32;

/// The crowds of this node. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Crowds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    finder: Arc<dyn Finder>,
    scope: Scope,
    /// From here on reports are due, so that those of all blobs go in one call.
    began: Instant,
    members: Mutex<HashMap<Digest, Arc<Member>>>,
    /// Of turns at the registry that were lost.
    slow: Spell,
    /// Of blobs that came by a false chunk list.
    cut: Spell,
}

/// This node in one crowd. Lasts as long as its pull of the blob.
#[derive(Debug)]
pub(crate) struct Member {
    growing: Arc<Growing>,
    state: Mutex<CrowdState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct CrowdState {
    rank: Option<Rank>,
    permit: bool,
    /// Whether it takes much more slowly than its source gets it.
    slow: bool,
    /// Whom it takes from, since it was last told to.
    sources: Vec<Holder>,
    /// Since when it has been told to wait.
    waits: Option<Instant>,
    /// Whom this node gave up and has not told of.
    tried: Vec<Tried>,
}

/// This node in one crowd, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberView {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    pub(crate) total: u64,
    pub(crate) rank: Option<Rank>,
    pub(crate) sources: Vec<Holder>,
    pub(crate) permit: bool,
    pub(crate) slow: bool,
    pub(crate) waits: Option<Duration>,
}

impl Crowds {
    pub(super) fn new(finder: Arc<dyn Finder>, scope: Scope) -> Self {
        Self(Arc::new(Inner {
            finder,
            scope,
            began: Instant::now(),
            members: Mutex::default(),
            slow: Spell::new("no turn at a registry was lost of late"),
            cut: Spell::new("nothing came by a false chunk list of late"),
        }))
    }

    /// This node as a member of the crowd for a blob that it is getting.
    pub(super) fn member(&self, growing: &Arc<Growing>) -> Arc<Member> {
        let mut members = self.lock();
        if let Some(member) = members.get(growing.digest())
            && Arc::ptr_eq(&member.growing, growing)
        {
            return Arc::clone(member);
        }
        let member = Arc::new(Member {
            growing: Arc::clone(growing),
            state: Mutex::default(),
            changed: Notify::new(),
        });
        members.insert(growing.digest().clone(), Arc::clone(&member));
        drop(members);
        let (crowds, reporter) = (self.clone(), Arc::clone(&member));
        self.0
            .scope
            .task(Span::none(), async move { crowds.report(&reporter).await });
        member
    }

    /// The crowds that this node is in.
    pub(super) fn view(&self) -> Vec<MemberView> {
        let members: Vec<_> = self.lock().values().cloned().collect();
        let mut views: Vec<_> = members.iter().map(|member| member.view()).collect();
        views.sort_by(|a, b| a.digest.as_str().cmp(b.digest.as_str()));
        views
    }

    /// Tells how far the member is, up to its end.
    async fn report(&self, member: &Arc<Member>) {
        let growing = &member.growing;
        loop {
            let permit = member.lock().permit;
            let pause = if permit { PERMITTED } else { OTHERWISE };
            let ended = tokio::select! {
                end = growing.ended() => Some(end),
                () = self.0.scope.draining() => return,
                () = member.changed.notified() => None,
                () = tokio::time::sleep_until(self.due(pause)) => None,
            };
            if member.lock().permit && ended.is_none() {
                // The first byte is told of as soon as it is there.
                let _ = timeout(PERMITTED, growing.beyond(0)).await;
            }
            let (heard, said_slow) = self.tell(member).await;
            if growing.reached().end.is_some() {
                break;
            }
            if said_slow && heard.is_some() && !growing.reached().withdrawn {
                // Those who took from here have another source by now, and ask for it.
                growing.withdraw();
            }
            if heard == Some(Standing::Lost) && !growing.reached().withdrawn {
                if std::mem::take(&mut member.lock().permit) {
                    self.0.slow.happened(|times| {
                        info!(digest = %growing.digest(), times, "the registry is too slow here: another node asks it");
                    });
                    metrics::counter!(LOST.name).increment(1);
                } else {
                    self.0.cut.happened(|times| {
                        info!(digest = %growing.digest(), times, "what this node has of it is passed on no more: it came by a false chunk list");
                    });
                }
                growing.withdraw();
            }
        }
        let mut members = self.lock();
        let is_this = |other: &Arc<Member>| Arc::ptr_eq(other, member);
        if members.get(growing.digest()).is_some_and(is_this) {
            members.remove(growing.digest());
        }
    }

    /// containerd refused what fits the chunk list of `maker`.
    pub(super) fn refused(&self, digest: &Digest, maker: Holder) {
        let progress = Progress {
            key: digest.to_string(),
            bytes: 0,
            rank: None,
            permit: false,
            registry: None,
            slow: false,
            end: Some(End::Failed),
            refused: Some(maker),
        };
        let finder = Arc::clone(&self.0.finder);
        self.0.scope.task(Span::none(), async move {
            // Nobody to tell: the other nodes find out by themselves.
            let _ = finder.progress(progress).await;
        });
    }

    /// When the next report of those that are due so often is due.
    fn due(&self, period: Duration) -> Instant {
        let periods = self.0.began.elapsed().as_nanos() / period.as_nanos().max(1);
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        self.0.began + period.saturating_mul(periods.saturating_add(1))
    }

    /// What the server says to it, and whether it was told that the member is slow.
    async fn tell(&self, member: &Member) -> (Option<Standing>, bool) {
        let growing = &member.growing;
        let reached = growing.reached();
        let (rank, permit, slow) = {
            let state = member.lock();
            (state.rank, state.permit, state.slow)
        };
        let progress = Progress {
            key: growing.digest().to_string(),
            bytes: reached.bytes,
            rank,
            // While containerd commits what is all there, the registry is not needed any more.
            permit: permit && reached.bytes < growing.total(),
            registry: growing.registry().filter(|_| permit),
            slow,
            end: reached.end.map(|end| match end {
                crate::content::Ended::Committed => End::Complete,
                crate::content::Ended::Vanished => End::Failed,
            }),
            refused: None,
        };
        debug!(digest = %growing.digest(), ?progress, "telling how far this node is");
        (self.0.finder.progress(progress).await, slow)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Member>>> {
        self.0.members.lock()
    }
}

impl CrowdState {
    fn takes_from(&mut self, sources: Vec<Holder>) {
        (self.sources, self.waits) = (sources, None);
    }
}

impl Member {
    /// Whether it is for something little, such as a manifest.
    pub(super) fn is_little(&self) -> bool {
        self.growing.is_little()
    }

    /// The place in the order that the server gave.
    pub(super) fn rank(&self) -> Option<Rank> {
        self.lock().rank
    }

    /// The server gave a place in the order.
    pub(super) fn ranked(&self, rank: Option<Rank>) {
        let mut state = self.lock();
        state.rank = rank.or(state.rank);
    }

    fn view(&self) -> MemberView {
        let reached = self.growing.reached();
        let state = self.lock();
        MemberView {
            digest: self.growing.digest().clone(),
            bytes: reached.bytes,
            total: self.growing.total(),
            rank: state.rank,
            sources: state.sources.clone(),
            permit: state.permit,
            slow: state.slow,
            waits: state.waits.map(|since| since.elapsed()),
        }
    }

    /// It is to wait.
    pub(super) fn waits(&self) {
        let mut state = self.lock();
        state.sources.clear();
        state.waits.get_or_insert_with(Instant::now);
    }

    /// This node's containerd is to ask the registry.
    pub(super) fn permitted(&self) {
        let mut state = self.lock();
        state.takes_from(Vec::new());
        if !std::mem::replace(&mut state.permit, true) {
            self.changed.notify_one();
        }
    }

    /// It takes from other nodes now.
    pub(super) fn takes(&self, sources: Vec<Holder>) {
        let mut state = self.lock();
        state.permit = false;
        state.takes_from(sources);
    }

    /// It takes much more slowly than its source gets it: the server is told, and then nobody is fed any more.
    pub(crate) fn slows(&self) {
        let mut state = self.lock();
        if !state.permit && !std::mem::replace(&mut state.slow, true) {
            count::slow();
            info!(digest = %self.growing.digest(), "this node is too slow to feed others");
            self.changed.notify_one();
        }
    }

    /// It is left to itself.
    pub(super) fn alone(&self) {
        self.lock().takes_from(Vec::new());
    }

    /// A source was given up.
    pub(super) fn gave_up(&self, tried: Tried) {
        self.lock().tried.push(tried);
    }

    /// Whom it gave up since this was last asked.
    pub(super) fn take_tried(&self) -> Vec<Tried> {
        std::mem::take(&mut self.lock().tried)
    }

    /// Nobody heard that it gave these up: they are said again.
    pub(super) fn untold(&self, mut tried: Vec<Tried>) {
        let mut state = self.lock();
        tried.append(&mut state.tried);
        tried.truncate(MOST_TRIED);
        state.tried = tried;
    }

    fn lock(&self) -> MutexGuard<'_, CrowdState> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests;
