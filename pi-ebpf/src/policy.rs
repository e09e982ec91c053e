//! What counts as idle, and which bursts are large enough to tell a rate.

/// Where idle begins, and which bursts are large enough to tell a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A silence up to this long between the last byte and the next request counts as busy.
    pub think_ns: u64,
    /// A silence while an answer is outstanding counts as busy up to this long.
    pub stall_ns: u64,
    /// Bursts with fewer bytes, such as requests and pings, give no rate.
    pub min_burst: u64,
}

impl Policy {
    /// The policy the program is built with.
    pub const DEFAULT: Self = Self {
        think_ns: 2_000_000,
        stall_ns: 5_000_000_000,
        min_burst: 65_536,
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
