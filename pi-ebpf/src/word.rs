//! A counter in memory, and how it is added to.

use core::cell::Cell;

/// A counter that is reached through a shared reference.
///
/// In the kernel every CPU may be adding to a peer's counters, so there `add` is an atomic
/// instruction; a single thread makes do with a [`Cell`].
pub trait Word {
    /// The present value.
    fn get(&self) -> u64;

    /// Replaces the value. Concurrent writers overwrite one another.
    fn set(&self, value: u64);

    /// Adds `n`. No concurrent addition is lost.
    fn add(&self, n: u64);
}

impl Word for Cell<u64> {
    #[inline]
    fn get(&self) -> u64 {
        Cell::get(self)
    }

    #[inline]
    fn set(&self, value: u64) {
        Cell::set(self, value);
    }

    #[inline]
    fn add(&self, n: u64) {
        self.set(Cell::get(self).wrapping_add(n));
    }
}
