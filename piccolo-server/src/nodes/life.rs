//! When a node sent its last call, and its state then, as one number.
//!
//! Instances learn of a node in different orders. The later one wins, from any instance; at the
//! same moment, the state that takes the node out wins. So all instances and the database converge,
//! and the larger number is the valid one.
//!
//! A time that lies further ahead than a node may be silent is none of a right clock: it counts as just
//! before the moment at which it is found, and any later call is above it.

use crate::store::NodeState;

/// A moment and a state; a later moment is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life(u64);

impl Life {
    /// It has sent no call.
    pub(super) const NONE: Self = Self(0);

    /// `at` in milliseconds since the Unix epoch.
    pub(super) fn new(at: i64, state: NodeState) -> Self {
        Self(at.max(0).cast_unsigned() << 2 | u64::from(state.byte()))
    }

    /// The same state at another moment.
    pub(super) fn moved(self, at: i64) -> Self {
        Self::new(at, self.state())
    }

    pub(super) fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub(super) fn number(self) -> u64 {
        self.0
    }

    pub(super) fn at(self) -> i64 {
        (self.0 >> 2).cast_signed()
    }

    pub(super) fn state(self) -> NodeState {
        NodeState::from_byte(u8::try_from(self.0 & 3).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_is_greater_and_then_what_takes_out() {
        let (up, left) = (NodeState::Up, NodeState::Left);
        let lives = [
            Life::NONE,
            Life::new(7, up),
            Life::new(7, left),
            Life::new(7, NodeState::Broken),
            Life::new(8, up),
        ];
        assert!(lives.is_sorted());
        assert_eq!(Life::new(1_900_000_000_000, left).at(), 1_900_000_000_000);
        assert_eq!(Life::new(1_900_000_000_000, left).state(), left);
    }
}
