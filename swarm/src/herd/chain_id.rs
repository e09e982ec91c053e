//! A chain's name, apart from the chain: members know theirs, and chains know their members.

use std::num::NonZeroU32;

/// A chain, by its number in the herd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ChainId(NonZeroU32);

impl ChainId {
    pub(super) fn new(index: usize) -> Self {
        let number = u32::try_from(index).unwrap_or(u32::MAX - 1);
        Self(NonZeroU32::MIN.saturating_add(number))
    }

    pub(super) fn index(self) -> usize {
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}
