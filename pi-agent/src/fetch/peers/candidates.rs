//! The peers that may have an object, in the order in which they are asked.

use std::collections::VecDeque;

use piccolo_api::{Holder, PeerState};
use tokio::time::Instant;

use super::health::Standing;
use crate::{digest::Digest, fetch::Inner};

/// Most peers that are asked for one object.
const MOST: usize = 16;

/// Peers that were not asked yet.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    waiting: VecDeque<Holder>,
    seen: Vec<Holder>,
}

impl Candidates {
    /// Asks who has the object, and leaves out whom not to ask.
    pub(crate) async fn find(inner: &Inner, digest: &Digest) -> Self {
        let found = inner.parts.finder.find(digest).await;
        let complete = found.iter().filter(|p| p.state == PeerState::Complete);
        let mut candidates = Self::default();
        candidates.add(inner, digest, complete.map(|p| p.addr));
        candidates
    }

    /// Adds peers behind those that wait. Slow ones go last.
    pub(crate) fn add(
        &mut self,
        inner: &Inner,
        digest: &Digest,
        peers: impl IntoIterator<Item = Holder>,
    ) {
        let now = Instant::now();
        let mut slow = Vec::new();
        for peer in peers {
            if self.seen.len() >= MOST {
                break;
            }
            if Some(peer) == inner.settings.own || self.seen.contains(&peer) {
                continue;
            }
            match inner.health.standing(peer, digest, now) {
                Standing::Good => self.waiting.push_back(peer),
                Standing::Slow => slow.push(peer),
                Standing::Out => continue,
            }
            self.seen.push(peer);
        }
        self.waiting.extend(slow);
    }

    /// The next one. Who failed another request since it was put here is left out.
    pub(crate) fn next(&mut self, inner: &Inner, digest: &Digest) -> Option<Holder> {
        let now = Instant::now();
        loop {
            let peer = self.waiting.pop_front()?;
            if inner.health.standing(peer, digest, now) != Standing::Out {
                return Some(peer);
            }
        }
    }

    /// Puts a peer in front: it is asked for more of what it gives.
    pub(crate) fn again(&mut self, peer: Holder) {
        self.waiting.push_front(peer);
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
