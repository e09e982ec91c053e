//! The peers that may have an object, in the order in which they are asked.

use std::{collections::VecDeque, sync::Arc};

use piccolo_api::Holder;
use tokio::time::Instant;

use super::{Peers, health::Standing, named::may_be_asked};
use crate::{digest::Digest, fetch::exchange::PeerError};

/// Most peers that are asked for one object.
const MOST: usize = 16;

/// Peers that were not asked yet for an object.
#[derive(Debug)]
pub(crate) struct Candidates {
    peers: Arc<Peers>,
    digest: Digest,
    waiting: VecDeque<Holder>,
    seen: Vec<Holder>,
}

impl Candidates {
    /// Nobody yet.
    pub(super) fn new(peers: Arc<Peers>, digest: Digest) -> Self {
        Self {
            peers,
            digest,
            waiting: VecDeque::new(),
            seen: Vec::new(),
        }
    }

    /// Asks again who has the object: who was found before may not be all who have it by now.
    pub(crate) async fn find_again(&mut self) {
        *self = self.peers.find(&self.digest).await;
    }

    /// Adds peers behind those that wait. Slow ones go last.
    pub(super) fn add(&mut self, peers: impl IntoIterator<Item = Holder>) {
        let mut slow = Vec::new();
        for peer in peers {
            if self.seen.len() >= MOST {
                break;
            }
            if Some(peer) == self.peers.own || self.seen.contains(&peer) {
                continue;
            }
            match self.peers.standing(peer, &self.digest) {
                Standing::Good => self.waiting.push_back(peer),
                Standing::Slow => slow.push(peer),
                Standing::Out => continue,
            }
            self.seen.push(peer);
        }
        self.waiting.extend(slow);
    }

    /// The next one. Who failed another request since it was put here is left out.
    pub(crate) fn next(&mut self) -> Option<Holder> {
        loop {
            let peer = self.waiting.pop_front()?;
            if self.peers.standing(peer, &self.digest) != Standing::Out {
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

    /// A peer delivered.
    pub(crate) fn delivered(&self, peer: Holder) {
        self.peers.delivered(peer);
    }

    /// Another peer answered before `peer`, though it was asked later.
    pub(crate) fn overtaken(&self, peer: Holder) {
        self.peers.health.overtaken(peer, Instant::now());
    }

    /// A peer did not deliver. Whom a busy one names in its place is asked behind those that wait.
    pub(crate) fn failed(&mut self, peer: Holder, error: PeerError) {
        self.peers.failed(peer, &self.digest, &error);
        if let PeerError::Busy(mut others) = error {
            others.retain(|other| may_be_asked(*other, peer, self.peers.own));
            self.add(others);
        }
    }
}
