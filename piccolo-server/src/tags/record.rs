//! One tag: who asks its registry, or what that said.

use std::time::Duration;

use piccolo_api::{Holder, RegistryWord, TagReply, TagTarget};
use tokio::time::Instant;

/// How long a node that was sent to the registry has to say what it heard. Agents give a registry two
/// seconds.
const LEASE: Duration = Duration::from_millis(2500);
/// Where nothing was heard, each node asks for itself for so long.
const UNHEARD: Duration = Duration::from_secs(10);
/// Nodes of one tag that were sent and not heard again, after which each asks for itself.
const MAX_LOST: u8 = 2;
/// The first and the longest interval after which a waiting node comes again.
const WAIT_MS: (u32, u32) = (30, 2000);
/// Nodes that wait for one tag and come again within the same millisecond.
const WAITING_PER_MS: u32 = 20;

/// What is known of a tag.
#[derive(Debug)]
pub(super) struct Record {
    /// Who was sent to the registry, and when.
    by: Holder,
    since: Instant,
    /// How long a word is kept. Nodes that want a younger one ask for themselves, or each of them could
    /// replace what others take.
    keep: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It has not said what it heard; others wait.
    Asking {
        waits: u32,
        /// How many were sent before it and not heard again.
        lost: u8,
    },
    Said(TagTarget),
    Refused,
    /// The registry was not reached.
    Nothing,
}

impl Record {
    /// A node is sent to the registry.
    pub(super) fn asking(by: Holder, keep: Duration, lost: u8, now: Instant) -> Self {
        Self {
            by,
            since: now,
            keep,
            state: State::Asking { waits: 0, lost },
        }
    }

    pub(super) fn by(&self) -> Holder {
        self.by
    }

    /// What a node is answered; `None` where it is to be sent to the registry.
    pub(super) fn reply(
        &mut self,
        asker: Holder,
        max_age: Duration,
        now: Instant,
    ) -> Option<TagReply> {
        let age = now.duration_since(self.since);
        match &mut self.state {
            State::Asking { waits, .. } if age < LEASE => {
                if asker == self.by {
                    return Some(TagReply::Ask);
                }
                *waits = waits.saturating_add(1);
                let wait = WAIT_MS.0 + *waits / WAITING_PER_MS;
                let wait_ms = wait.min(WAIT_MS.1);
                Some(TagReply::Wait { wait_ms })
            }
            State::Asking { lost, .. } => {
                let is_hopeless = *lost + 1 >= MAX_LOST;
                // Who was not heard again is not sent again at once.
                let is_left_alone = is_hopeless || asker == self.by;
                (is_left_alone && age < UNHEARD).then_some(TagReply::Alone)
            }
            State::Nothing => (age < UNHEARD).then_some(TagReply::Alone),
            State::Said(_) | State::Refused if age >= self.keep => None,
            State::Said(_) | State::Refused if age >= max_age => Some(TagReply::Alone),
            State::Refused => Some(TagReply::Refused),
            State::Said(target) => Some(TagReply::Known {
                target: target.clone(),
                age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                by: self.by,
            }),
        }
    }

    /// How many nodes in a row were sent and not heard again, this one among them.
    pub(super) fn lost(&self, now: Instant) -> u8 {
        match self.state {
            State::Asking { lost, .. } if now.duration_since(self.since) < UNHEARD => {
                lost.saturating_add(1)
            }
            _ => 0,
        }
    }

    /// The registry said this to `holder`. Gives whether it counts.
    pub(super) fn tell(&mut self, holder: Holder, word: RegistryWord) -> bool {
        if holder != self.by || !matches!(self.state, State::Asking { .. }) {
            return false;
        }
        self.state = match word {
            RegistryWord::Digest(target) => State::Said(target),
            RegistryWord::Refused => State::Refused,
            RegistryWord::Nothing => State::Nothing,
        };
        true
    }

    /// Whether nothing of it is of use any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let good = match self.state {
            State::Said(_) | State::Refused => self.keep,
            State::Asking { .. } | State::Nothing => UNHEARD,
        };
        now.duration_since(self.since) >= good
    }
}
