//! Giving memory back to the node.
#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "the allocator's call has no safe wrapper")
)]

/// Gives the kernel what was freed in the middle of the heap: by itself glibc gives back only what is
/// free at its end, so that what a busy minute needed would stay with a process that has hours to rest.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes the allocator's own locks, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
