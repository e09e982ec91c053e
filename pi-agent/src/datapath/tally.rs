//! Counting what passes.

/// Is told of bytes as they pass.
pub(crate) trait Tally: Send {
    /// Bytes came from the source.
    fn came(&mut self, bytes: u64);
    /// Bytes were taken by the receiver.
    fn went(&mut self, bytes: u64);
}
