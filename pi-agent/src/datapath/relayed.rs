//! What a relay comes to.

use std::io;

use super::source::SourceError;

/// What a relay moved, and how it ended.
#[derive(Debug)]
pub struct Relayed {
    /// Bytes that the receiver's socket took.
    pub moved: u64,
    /// How it ended.
    pub end: End,
}

/// The end of a relay.
#[derive(Debug)]
pub enum End {
    /// All bytes were moved.
    Complete,
    /// The source failed. The receiver has every byte that came, and another source can go on
    /// behind them.
    Source(SourceError),
    /// The receiver failed.
    Sink(io::Error),
}
