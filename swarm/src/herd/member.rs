//! One node of a herd.

use std::num::NonZeroU32;
use std::time::Duration;

use super::chain_id::ChainId;
use crate::identity::Node;

/// Milliseconds since the herd began; the largest stands for never.
pub(crate) type Ms = u32;

/// A member, by its number in the herd. None of it takes no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MemberId(NonZeroU32);

/// What a member is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It has no source.
    Waiting,
    /// It fetches from a node, or from the registry.
    Fetching,
    /// It has it all.
    Done,
    /// It left, or its children gave it up.
    Out,
}

/// One of a member's places for children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The next of its chain.
    Chain,
    /// A gateway of another chain, or a stripe of one.
    Second,
    /// For nodes without children, mostly because they drain slowly: they need little bandwidth.
    Slow,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) node: Node,
    pub(super) chain: ChainId,
    pub(super) place: u32,
    /// Its source; the further ones of a striping gateway are with its chain.
    pub(super) source: Option<MemberId>,
    /// Its children: one in the chain, one elsewhere, two slow ones.
    pub(super) kids: [Option<MemberId>; 4],
    pub(super) bytes: u64,
    /// Since when it has received no new byte, by its own reports.
    pub(super) since: Ms,
    /// When it got its source.
    pub(super) linked: Ms,
    /// When it had its first bytes, or is presumed to.
    pub(super) fed_at: Ms,
    pub(super) heard: Ms,
    /// Since when it has had nothing for those who were sent to it, and was not blamed.
    pub(super) excused: Ms,
    /// When the count of its reports began.
    pub(super) reported: Ms,
    pub(super) depth: u16,
    pub(super) reports: u8,
    pub(super) state: State,
    pub(super) permit: bool,
    /// It had a permit and made no progress: it gets none any more.
    pub(super) stalled: bool,
    /// The caller takes it for one that did so.
    pub(super) shunned: bool,
    pub(super) slow: bool,
    /// It sent wrong bytes.
    pub(super) barred: bool,
    /// Its place in the order is unknown, so it has no children.
    pub(super) leaf: bool,
    /// It has bytes from before a cut.
    pub(super) tainted: bool,
}

impl MemberId {
    pub(super) fn new(index: usize) -> Self {
        let number = u32::try_from(index).unwrap_or(u32::MAX - 1);
        Self(NonZeroU32::MIN.saturating_add(number))
    }

    pub(super) fn index(self) -> usize {
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}

impl Slot {
    fn range(self) -> std::ops::Range<usize> {
        match self {
            Self::Chain => 0..1,
            Self::Second => 1..2,
            Self::Slow => 2..4,
        }
    }
}

impl Member {
    pub(super) fn new(node: Node, chain: ChainId, place: u32, now: Ms) -> Self {
        Self {
            node,
            chain,
            place,
            source: None,
            kids: [None; 4],
            bytes: 0,
            since: now,
            linked: now,
            fed_at: Ms::MAX,
            heard: now,
            excused: Ms::MAX,
            reported: 0,
            depth: 0,
            reports: 0,
            state: State::Waiting,
            permit: false,
            stalled: false,
            shunned: false,
            slow: false,
            barred: false,
            leaf: false,
            tainted: false,
        }
    }

    /// Whether it wants the key and does not have it.
    pub(super) fn is_flying(&self) -> bool {
        matches!(self.state, State::Waiting | State::Fetching)
    }

    /// Whether its bytes are right, as far as is known.
    pub(super) fn is_trusted(&self) -> bool {
        !self.barred && !self.tainted
    }

    /// Whether others may be sent to it.
    pub(super) fn is_usable(&self) -> bool {
        self.state != State::Out && !self.slow && self.is_trusted() && !self.leaf
    }

    /// Whether it counts as one that had a permit and made no progress.
    pub(super) fn has_stalled(&self) -> bool {
        self.stalled || self.shunned
    }

    /// Whether it waits for others, and must not go first: no node waits behind it.
    pub(super) fn is_stuck(&self) -> bool {
        self.has_stalled() && self.state == State::Waiting
    }

    pub(super) fn has_room(&self, slot: Slot) -> bool {
        self.kids[slot.range()].iter().any(Option::is_none)
    }

    /// Gives the child one of the places; returns whether one was free.
    pub(super) fn take_in(&mut self, kid: MemberId, slot: Slot) -> bool {
        let place = self.kids[slot.range()].iter_mut().find(|kid| kid.is_none());
        place.is_some_and(|place| {
            *place = Some(kid);
            true
        })
    }

    pub(super) fn let_go(&mut self, kid: MemberId) {
        for place in &mut self.kids {
            if *place == Some(kid) {
                *place = None;
            }
        }
    }

    /// It has lost the bytes that it had.
    pub(super) fn has_nothing(&mut self) {
        self.bytes = 0;
        self.fed_at = Ms::MAX;
    }

    /// It reports the number of bytes that it has.
    pub(super) fn note(&mut self, bytes: u64, now: Ms) {
        self.heard = now;
        if bytes > self.bytes {
            self.bytes = bytes;
            self.since = now;
            self.excused = Ms::MAX;
        }
        if bytes > 0 {
            self.fed_at = self.fed_at.min(now);
        }
    }
}

/// A duration in whole milliseconds, saturating.
pub(crate) fn ms(duration: Duration) -> Ms {
    Ms::try_from(duration.as_millis()).unwrap_or(Ms::MAX - 1)
}
