//! What the agent knows in advance about a connection.
//!
//! The kernel shows every step of a connection, and never whether another one follows. The agent,
//! which has read or written the head of a long answer, does know: it promises the bytes, and until
//! shortly before the promised end the program defers small steps. From there on it accounts for
//! every step, so that the end of the answer, and what follows it, is as exact as without a
//! promise.

/// The bytes that a connection is sure to carry, in the socket's own storage; zero means no
/// promise.
///
/// Counted from the connection's first byte of payload. An answer that ends early loses nothing:
/// the end of a connection is always accounted for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Bytes that will be received in all, at least.
    pub received: u64,
    /// Bytes that will be sent in all, at least.
    pub sent: u64,
}

impl Promise {
    /// Steps below this are deferred, and the last stretch of this size before the promised end is
    /// accounted for step by step; bytes.
    pub const STEP: u64 = 1024 * 1024;
    /// Answers with fewer bytes are not worth a promise.
    pub const WORTH: u64 = 4 * Self::STEP;
    /// How long a step may be deferred, in ticks of the kernel's clock (100 to 1000 per second):
    /// the counters stay fresh, and a slow connection does not look stalled.
    pub(crate) const TICKS: u64 = 10;
}
