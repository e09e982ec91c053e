//! Giving memory back to the node.
#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "the allocator's call has no safe wrapper")
)]

use std::fs;

/// Pages by which the process may grow before it looks for what it can give back.
const SPARE: u64 = 128;

/// The growth of the process's memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Resident pages when memory was last given back, or fewer since.
    needed: u64,
}

impl Memory {
    /// Gives the kernel what was freed in the middle of the heap, where the process has grown: by itself
    /// glibc gives back only what is free at the heap's end, so that what a busy minute needed would stay
    /// with a process that has hours to rest.
    pub(crate) fn give_back(&mut self) {
        let now = resident();
        if now > self.needed.saturating_add(SPARE) {
            trim();
            self.needed = resident();
        } else {
            self.needed = self.needed.min(now);
        }
    }
}

/// Resident pages; the second number of the file, proc(5).
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = statm.split(' ').nth(1);
    resident
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(u64::MAX)
}

fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes the allocator's own locks, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_goes_back() {
        let mut memory = Memory::default();
        memory.give_back();
        let before = memory.needed;
        let mut blocks: Vec<_> = (0..4096).map(|_| vec![7_u8; 16 << 10]).collect();
        let grown = resident();
        assert!(grown > before + 10_000, "{grown} after {before}");
        // All but the last, which holds the heap's end.
        blocks.drain(..4095);
        memory.give_back();
        assert!(
            memory.needed < before + 2_000,
            "{} after {before}",
            memory.needed
        );
    }
}
