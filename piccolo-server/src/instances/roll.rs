//! The instances among which keys are divided, and which of them decides for a key.

use std::{collections::VecDeque, iter::once, sync::Arc, time::Duration};

use swarm::Key;
use tokio::time::Instant;

use super::{Decider, Peer, Tenure};
use crate::store::InstanceRow;

/// How long after a change an instance may not have heard yet who has a permit for a key that it takes
/// over: the others see the change within a second, and a second later all have reported.
const TAKING_OVER: Duration = Duration::from_millis(2500);
/// Earlier lists that are remembered.
const EARLIER: usize = 8;

/// A list of instances; a change replaces it by another list.
#[derive(Debug)]
pub(super) struct Roll {
    own: u64,
    peers: Vec<Arc<Peer>>,
    /// When this instance began to decide.
    began: Instant,
    /// The numbers of the others in earlier lists, and until when each was in force.
    earlier: VecDeque<(Vec<u64>, Instant)>,
}

impl Roll {
    /// This instance alone, which begins.
    pub(super) fn alone(own: u64, now: Instant) -> Self {
        Self {
            own,
            peers: Vec::new(),
            began: now,
            earlier: VecDeque::new(),
        }
    }

    pub(super) fn peers(&self) -> &[Arc<Peer>] {
        &self.peers
    }

    /// The list with these others; none where they are the same.
    pub(super) fn next(&self, live: &[InstanceRow], now: Instant) -> Option<Self> {
        let known = |row: &InstanceRow| {
            let same = |peer: &&Arc<Peer>| peer.row.id == row.id && peer.row.secret == row.secret;
            self.peers.iter().find(same).map(Arc::clone)
        };
        let is_same = self.peers.len() == live.len() && live.iter().all(|row| known(row).is_some());
        if is_same {
            return None;
        }
        let mut earlier = self.earlier.clone();
        earlier.push_front((self.numbers(), now));
        earlier.truncate(EARLIER);
        let peer = |row: &InstanceRow| known(row).unwrap_or_else(|| Arc::new(Peer::new(*row)));
        Some(Self {
            peers: live.iter().map(peer).collect(),
            earlier,
            ..*self
        })
    }

    /// The same list, of an instance that begins.
    pub(super) fn begun(&self, now: Instant) -> Self {
        Self {
            own: self.own,
            peers: self.peers.clone(),
            began: now,
            earlier: self.earlier.clone(),
        }
    }

    /// The instance that decides for each key. One in back-off is skipped.
    pub(super) fn deciders(&self, keys: &[Key], now: Instant) -> Vec<Decider> {
        // One probe of an instance in back-off may carry several keys.
        let mut admitted: Vec<Option<bool>> = vec![None; self.peers.len()];
        let mut decider = |key| {
            let Some((at, listed)) = self.listed(key) else {
                return Decider::Here(self.tenure(key, now));
            };
            let is_admitted = match admitted.get_mut(at) {
                Some(known) => *known.get_or_insert_with(|| listed.admits(now)),
                None => false,
            };
            if is_admitted {
                return Decider::There(Arc::clone(listed));
            }
            self.next_best(key, listed, now)
        };
        keys.iter().map(|key| decider(*key)).collect()
    }

    /// How long this instance has decided for a key, also in another one's place.
    pub(super) fn tenure(&self, key: Key, now: Instant) -> Tenure {
        if let Some((_, listed)) = self.listed(key) {
            return listed.stood_in_for(now);
        }
        let is_others = |others: &[u64]| picks(key, self.own, others.iter().copied()).is_some();
        let lost = self.earlier.iter().filter(|(others, _)| is_others(others));
        let since = lost.map(|(_, until)| *until).max();
        let since = since.map_or(self.began, |since| since.max(self.began));
        Tenure::until(since + TAKING_OVER, now)
    }

    /// Whether another instance decides for a key, and this one does not in its place.
    pub(super) fn is_elsewhere(&self, key: Key, now: Instant) -> bool {
        match self.listed(key) {
            None => false,
            Some((_, listed)) if listed.is_left_alone(now) => {
                self.second(key, listed, now).is_some()
            }
            Some((_, listed)) => !listed.is_stood_in_for(now),
        }
    }

    /// The other instance that the list gives a key to, and its place in the list.
    fn listed(&self, key: Key) -> Option<(usize, &Arc<Peer>)> {
        let at = picks(key, self.own, self.peers.iter().map(|peer| peer.number))?;
        self.peers.get(at).map(|peer| (at, peer))
    }

    /// The stand-in while `listed` does not answer.
    fn next_best(&self, key: Key, listed: &Peer, now: Instant) -> Decider {
        match self.second(key, listed, now) {
            Some(other) => Decider::There(Arc::clone(other)),
            None => Decider::Here(listed.stood_in_for(now)),
        }
    }

    /// Which other instance decides in the place of `listed`: the same for all that do not reach that.
    fn second(&self, key: Key, listed: &Peer, now: Instant) -> Option<&Arc<Peer>> {
        let is_other = |peer: &&Arc<Peer>| peer.number != listed.number && !peer.is_left_alone(now);
        let others: Vec<_> = self.peers.iter().filter(is_other).collect();
        let at = picks(key, self.own, others.iter().map(|peer| peer.number))?;
        others.get(at).copied()
    }

    fn numbers(&self) -> Vec<u64> {
        self.peers.iter().map(|peer| peer.number).collect()
    }
}

/// Which of the others a key belongs to; none where it is `own`'s.
fn picks(key: Key, own: u64, others: impl Iterator<Item = u64>) -> Option<usize> {
    swarm::owner(key, once(own).chain(others))?.checked_sub(1)
}
