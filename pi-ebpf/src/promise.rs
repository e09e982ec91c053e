//! What the agent knows of a connection beforehand.
//!
//! The kernel shows every step of a connection, and never whether another one follows. Whoever has
//! read or written the head of a long answer does know: so the agent promises, and up to shortly
//! before the promised end the program leaves small steps to later ones. From there on it looks at
//! each of them, so that the end of the answer, and what follows it, is as exact as without.

/// How far a connection is sure to come, in the socket's own storage; no promise is zero.
///
/// Counted from the connection's first byte of payload. Of one that ends early nothing is lost: the
/// end of a connection is looked at whatever was promised.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// At least so many bytes will be received in all.
    pub received: u64,
    /// At least so many bytes will be sent in all.
    pub sent: u64,
}

impl Promise {
    /// What is left to a later look, and what is looked at closely before the promised end, bytes.
    pub const STEP: u64 = 1024 * 1024;
    /// Answers with fewer bytes are not worth a promise.
    pub const WORTH: u64 = 4 * Self::STEP;
    /// How long a step may be left to a later look, in ticks of the kernel's clock, of which a second
    /// has 100 to 1000: the counters stay fresh, and a slow connection is no stalled one.
    pub(crate) const TICKS: u64 = 10;
}
