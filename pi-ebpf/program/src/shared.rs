//! A counter in a map's value, which every CPU may be writing.

use core::{
    cell::UnsafeCell,
    intrinsics::{AtomicOrdering, atomic_xadd},
    ptr,
};

use pi_ebpf::Word;

/// A `u64` in a map's value.
#[repr(transparent)]
pub(crate) struct Shared(UnsafeCell<u64>);

impl Word for Shared {
    #[inline(always)]
    fn get(&self) -> u64 {
        // SAFETY: the cell is valid for reads; aligned words are not torn.
        unsafe { ptr::read_volatile(self.0.get()) }
    }

    #[inline(always)]
    fn set(&self, value: u64) {
        // SAFETY: the cell is valid for writes; aligned words are not torn.
        unsafe { ptr::write_volatile(self.0.get(), value) }
    }

    #[inline(always)]
    fn add(&self, n: u64) {
        // SAFETY: the cell is valid and aligned. The result is not used, so that this is the plain
        // `lock +=` of the first BPF instruction set.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(self.0.get(), n) };
    }
}
