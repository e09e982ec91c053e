//! Crowds that this node is in: blobs that it fetches while others do, from whom the server says.
//!
//! The server is told how far this node is: each second while its containerd takes the bytes from
//! the registry by a permit, now and then otherwise, and at once when it ends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use daemon::scope::Scope;
use parking_lot::{Mutex, MutexGuard};
use piccolo_api::{End, Holder, Progress, Rank, Standing, Tried};
use tokio::{sync::Notify, time::timeout};
use tracing::{Span, debug, info};

use super::{Finder, count::LOST};
use crate::{content::Growing, digest::Digest};

/// Between two reports of a node that has a permit, and of one that has none.
const PERMITTED: Duration = Duration::from_secs(1);
const OTHERWISE: Duration = Duration::from_secs(20);

/// The crowds of this node. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Crowds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    finder: Arc<dyn Finder>,
    scope: Scope,
    members: Mutex<HashMap<Digest, Arc<Member>>>,
}

/// This node in one crowd. Lasts as long as its pull of the blob.
#[derive(Debug)]
pub(super) struct Member {
    growing: Arc<Growing>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    rank: Option<Rank>,
    permit: bool,
    /// Whom this node gave up and has not told of.
    tried: Vec<Tried>,
}

impl Crowds {
    pub(super) fn new(finder: Arc<dyn Finder>, scope: Scope) -> Self {
        Self(Arc::new(Inner {
            finder,
            scope,
            members: Mutex::default(),
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
                () = tokio::time::sleep(pause) => None,
            };
            if member.lock().permit && ended.is_none() {
                // The first byte is told of as soon as it is there.
                let _ = timeout(PERMITTED, growing.beyond(0)).await;
            }
            let heard = self.tell(member).await;
            if growing.reached().end.is_some() {
                break;
            }
            if heard == Some(Standing::Lost) && !growing.reached().withdrawn {
                if std::mem::take(&mut member.lock().permit) {
                    info!(digest = %growing.digest(), "the registry is too slow here: another node asks it");
                    metrics::counter!(LOST.name).increment(1);
                } else {
                    info!(digest = %growing.digest(), "what this node has of it is passed on no more: it came by a false chunk list");
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
            end: Some(End::Failed),
            refused: Some(maker),
        };
        let finder = Arc::clone(&self.0.finder);
        self.0.scope.task(Span::none(), async move {
            // Nobody to tell: the other nodes find out by themselves.
            let _ = finder.progress(progress).await;
        });
    }

    async fn tell(&self, member: &Member) -> Option<Standing> {
        let growing = &member.growing;
        let reached = growing.reached();
        let (rank, permit) = {
            let state = member.lock();
            (state.rank, state.permit)
        };
        let progress = Progress {
            key: growing.digest().to_string(),
            bytes: reached.bytes,
            rank,
            permit,
            end: reached.end.map(|end| match end {
                crate::content::Ended::Committed => End::Complete,
                crate::content::Ended::Vanished => End::Failed,
            }),
            refused: None,
        };
        debug!(digest = %growing.digest(), ?progress, "telling how far this node is");
        self.0.finder.progress(progress).await
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Member>>> {
        self.0.members.lock()
    }
}

impl Member {
    /// The place in the order that the server gave.
    pub(super) fn rank(&self) -> Option<Rank> {
        self.lock().rank
    }

    /// The server gave a place in the order.
    pub(super) fn ranked(&self, rank: Option<Rank>) {
        let mut state = self.lock();
        state.rank = rank.or(state.rank);
    }

    /// This node's containerd is to ask the registry.
    pub(super) fn permitted(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.permit, true) {
            self.changed.notify_one();
        }
    }

    /// It takes from another node now.
    pub(super) fn takes(&self) {
        self.lock().permit = false;
    }

    /// A source was given up.
    pub(super) fn gave_up(&self, tried: Tried) {
        self.lock().tried.push(tried);
    }

    /// Whom it gave up since this was last asked.
    pub(super) fn take_tried(&self) -> Vec<Tried> {
        std::mem::take(&mut self.lock().tried)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
