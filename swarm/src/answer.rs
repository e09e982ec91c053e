//! The answers to nodes.

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
        /// Ask again then for more sources.
        again: Option<Duration>,
    },
    /// Let containerd ask the registry, and report progress: at the first byte, then each second.
    Permit(Permit),
    /// Ask again then. No source has bytes before, and the registry must not be asked.
    Wait { until: Duration, why: Why },
}

/// A source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Source<A> {
    pub node: A,
    pub rack: Rack,
    /// Its place in the order; none for a holder of the whole that is in no rack of the order.
    pub rank: Option<Rank>,
    /// Bytes that it had at its last report.
    pub bytes: u64,
    /// Whether it has the whole.
    pub complete: bool,
}

/// A lease on one of the places at the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// It expires then, unless progress was reported before.
    pub until: Duration,
    pub reason: Reason,
}

/// Why a node may go to the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is its turn.
    Turn,
    /// It has waited too long, and the budget had room.
    Patience,
}

/// Why a node has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The nodes with bytes have no room.
    Busy,
    /// Another node has the permit, and there are no bytes yet.
    Permit,
    /// The instance has just started, and first learns which nodes hold permits.
    Hush,
    /// The tables of nodes or keys are full.
    Full,
}

/// The answer to a [`crate::Progress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    pub rank: Option<Rank>,
    pub standing: Standing,
}

/// Whether the reporting node still has the role that it reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds a permit until then.
    Permit { until: Duration },
    /// It has lost its permit: it ends its children's transfers, so that the next in rank goes on,
    /// and its own containerd's transfer continues.
    Lost,
    /// It holds none, and reported none.
    Noted,
    /// Nothing is known of it, and there is no room to remember it.
    Unknown,
}
