//! What changed, for logs and counters.

use serde::Serialize;

use crate::{Fault, Key, Reason};

/// Something that happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<A> {
    pub key: Key,
    /// The affected node; `None` where it is the whole key.
    pub node: Option<A>,
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It may go to the registry.
    Permitted(Reason),
    /// It gave its permit back: it has the whole.
    Returned,
    /// It lost its permit: it was silent, stalled, left, or a child reported a failure.
    Lost,
    /// A child reported it; it is not handed out before its next call.
    Out(Fault),
    /// It sent wrong bytes, and is not handed out for this key any more.
    Barred,
    /// It is slow, and feeds no node any more.
    Slow,
    /// It was given another source than it had.
    Moved,
    /// No node wants the key any more, and its state was dropped.
    Settled,
    /// All that is known of the key was dropped, as its bytes were false.
    Cut,
}
