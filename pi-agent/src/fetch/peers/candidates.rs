//! The peers that may have an object, in the order in which they are asked.

use std::{collections::VecDeque, sync::Arc};

use piccolo_api::{FailureKind, Fault, Holder};
use tokio::time::Instant;
use tracing::debug;

use super::{
    Peers,
    crowd::Member,
    health::Standing,
    named::may_be_asked,
    seat::{Course, Seat},
};
use crate::{content::Growing, digest::Digest, fetch::exchange::PeerError};

/// Most peers that are asked for one object.
const MOST: usize = 16;
/// How many may have it under another name before the registry is asked.
const WITHHELD: u32 = 2;
/// How often a peer is asked again since a certificate has expired meanwhile. Certificates last longer than
/// transfers, mostly.
const EXPIRIES: u32 = 3;

/// Peers that were not asked yet for an object.
#[derive(Debug)]
pub(crate) struct Candidates {
    peers: Arc<Peers>,
    digest: Digest,
    waiting: VecDeque<Holder>,
    seen: Vec<Holder>,
    /// Whom to ask at the same time as the one that waits, for the other stripes.
    beside: Vec<Holder>,
    /// In a crowd, whom to ask is told one by one.
    seat: Option<Seat>,
    /// Whether those who wait have it all, and so do whom they name in their place.
    are_complete: bool,
    growing: Option<Arc<Growing>>,
    /// Whether peers were looked for a second time.
    found_again: bool,
    /// How many have the object and do not give it under this name.
    withheld: u32,
    /// How often a certificate has expired meanwhile.
    expiries: u32,
}

impl Candidates {
    /// Nobody yet.
    pub(super) fn new(peers: Arc<Peers>, digest: Digest) -> Self {
        Self {
            peers,
            digest,
            waiting: VecDeque::new(),
            seen: Vec::new(),
            beside: Vec::new(),
            seat: None,
            are_complete: true,
            growing: None,
            found_again: false,
            withheld: 0,
            expiries: 0,
        }
    }

    /// The server names one source at a time from now on.
    pub(super) fn sit(&mut self, seat: Seat, growing: &Arc<Growing>) {
        self.growing = Some(Arc::clone(growing));
        self.seat = Some(seat);
    }

    /// Whether it is a crowd that this node fetches in.
    pub(crate) fn is_crowd(&self) -> bool {
        self.seat.is_some()
    }

    /// The blob as it grows on this node, where it is fetched in a crowd.
    pub(crate) fn growing(&self) -> Option<Arc<Growing>> {
        self.growing.clone()
    }

    /// Asks again who has the byte at `at`, once all who were named have failed. Gives whether there
    /// is somebody to try.
    pub(crate) async fn ask_again(&mut self, at: u64) -> bool {
        loop {
            let Some(seat) = &mut self.seat else {
                return self.find_again().await;
            };
            self.beside.clear();
            match seat.ask(at).await {
                Course::Peers(peers) => {
                    self.seat = None;
                    self.found_again = true;
                    self.add(peers);
                }
                Course::Growing(source, others) if self.may_ask(source) => {
                    self.take_from(source, &others);
                }
                Course::Complete(source, others) if self.may_ask(source) => {
                    self.are_complete = true;
                    self.waiting.clear();
                    self.waiting.push_back(source);
                    self.seen.push(source);
                    self.add(others);
                }
                Course::Growing(..) | Course::Complete(..) => continue,
                Course::Registry => return false,
            }
            return true;
        }
    }

    /// Takes from nodes that are getting it themselves. Those that sent wrong bytes before are left out.
    fn take_from(&mut self, first: Holder, others: &[Holder]) {
        self.are_complete = false;
        self.waiting.clear();
        self.waiting.push_back(first);
        self.beside.clear();
        for &other in others {
            if self.may_ask(other) {
                self.beside.push(other);
            }
        }
    }

    /// Whether a source of a crowd may be asked; gives it up if not.
    fn may_ask(&mut self, source: Holder) -> bool {
        let fault = if !self.peers.reach.allows(source) {
            Fault::Silent
        } else if self.peers.has_lied(source, &self.digest) {
            Fault::Wrong
        } else {
            return true;
        };
        if let Some(seat) = &mut self.seat {
            seat.refused(source, fault);
        }
        false
    }

    /// Whom to ask for the other stripes, beside the one that is asked next or was asked last.
    pub(crate) fn beside(&self) -> &[Holder] {
        &self.beside
    }

    /// Of how many stripes each node is asked for one.
    pub(crate) fn stripes(&self) -> u64 {
        u64::try_from(self.beside.len()).map_or(1, |beside| beside + 1)
    }

    /// From now on one node at a time is taken from, and first from this one: not all that were named
    /// can send stripes.
    pub(crate) fn take_from_one(&mut self, peer: Holder) {
        self.beside.clear();
        if let Some(seat) = &mut self.seat {
            seat.take_from_one(peer);
        }
        self.again(peer);
    }

    /// Waits until there are more nodes to take from at the same time, and has them asked next; for ever
    /// where there will not be.
    pub(crate) async fn more(&mut self) {
        let (Some(seat), Some(growing)) = (&mut self.seat, &self.growing) else {
            return std::future::pending().await;
        };
        if let Course::Growing(first, others) = seat.more(growing).await {
            if !self.may_ask(first) {
                return std::future::pending().await;
            }
            self.take_from(first, &others);
        }
    }

    /// Who was found before may not be all who have it by now.
    async fn find_again(&mut self) -> bool {
        if self.found_again {
            return false;
        }
        *self = self.peers.find(&self.digest).await;
        self.found_again = true;
        true
    }

    /// This node in the crowd that it fetches in.
    pub(crate) fn member(&self) -> Option<Arc<Member>> {
        self.seat.as_ref().map(|seat| Arc::clone(seat.member()))
    }

    /// Bytes came from the peer that was asked last.
    pub(crate) fn moved(&mut self) {
        if let Some(seat) = &mut self.seat {
            seat.moved();
        }
    }

    /// Adds peers behind those that wait. Slow ones go last.
    pub(super) fn add(&mut self, peers: impl IntoIterator<Item = Holder>) {
        let mut slow = Vec::new();
        for peer in peers {
            if self.seen.len() >= MOST {
                break;
            }
            if Some(peer) == self.peers.here.get() || self.seen.contains(&peer) {
                continue;
            }
            if !self.peers.reach.allows(peer) {
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
        if self.seat.is_some() {
            // Whom the server names in a crowd is asked whatever it did before: it may have nobody else.
            return self.waiting.pop_front();
        }
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

    /// The certificate of one of both sides has expired while a peer sent. It is asked again, on a connection
    /// by a new one, unless that does not help.
    pub(crate) fn expired(&mut self, peer: Holder, error: PeerError) {
        self.expiries += 1;
        if self.expiries > EXPIRIES {
            self.failed(peer, error);
        } else {
            self.again(peer);
        }
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
        if let Some(seat) = &mut self.seat {
            // A peer that is still fetching is not blamed for missing bytes.
            seat.failed(peer, &error);
            let counts = [FailureKind::WrongBytes, FailureKind::Identity];
            if error.is_unreachable() || counts.contains(&error.kind()) {
                self.peers.failed(peer, &self.digest, &error);
            }
        } else if error.is_blameless() {
            debug!(%peer, digest = %self.digest, %error, "a peer does not give it under this name");
            // Others that have it know it by the same names, mostly: the registry decides sooner.
            self.withheld += 1;
            if self.withheld >= WITHHELD {
                self.waiting.clear();
            }
        } else {
            self.peers.failed(peer, &self.digest, &error);
        }
        // Who is still getting it itself may be behind this node in the order.
        if self.are_complete
            && let PeerError::Busy(mut others) = error
        {
            let own = self.peers.here.get();
            others.retain(|other| may_be_asked(*other, peer, own));
            self.add(others);
        }
    }
}
