//! What a node is answered.

use std::time::Duration;

use serde::Serialize;

use crate::{Rack, Rank};

/// The answer to a [`crate::Join`].
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<A> {
    /// The asker's place in the order, once its rack has one.
    pub rank: Option<Rank>,
    pub verdict: Verdict<A>,
}

/// What the asker is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict<A> {
    /// Take from these: in turns from all of them if it can, else from the first.
    Take {
        sources: Vec<Source<A>>,
        /// More sources may be had by asking again then.
        again: Option<Duration>,
    },
    /// Have containerd ask the registry, and say how far it is: at the first byte, then each second.
    Permit(Permit),
    /// Ask again then. Nothing is to be had before, and the registry is not to be asked.
    Wait { until: Duration, why: Why },
}

/// Somebody to take from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Source<A> {
    pub node: A,
    pub rack: Rack,
    /// Its place in the order; none for a holder of the whole that is in no rack of the order.
    pub rank: Option<Rank>,
    /// Bytes that it had when it was last heard of.
    pub bytes: u64,
    /// Whether it has the whole.
    pub complete: bool,
}

/// A lease on one of the places at the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// It is lost then, unless progress was reported before.
    pub until: Duration,
    pub reason: Reason,
}

/// Why somebody may go to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is its turn.
    Turn,
    /// It has waited too long, and the budget had room.
    Patience,
}

/// Why somebody has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Whoever has bytes is busy with others.
    Busy,
    /// Somebody else has the permit, and nobody has bytes yet.
    Permit,
    /// The instance was just started, and hears first who holds permits.
    Hush,
    /// As many nodes or keys are remembered as may be.
    Full,
}

/// The answer to a [`crate::Progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub rank: Option<Rank>,
    pub standing: Standing,
}

/// Whether the one who reports is still what it thinks it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds a permit until then.
    Permit { until: Duration },
    /// It has lost its permit: it ends what its children take from it, so that the next in rank goes
    /// on, and keeps what its own containerd takes.
    Lost,
    /// It holds none, and said so.
    Noted,
    /// Nothing is known of it, and there is no room to remember it.
    Unknown,
}
