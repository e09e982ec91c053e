//! What is added to a find by an agent that is about to fetch, and how it says how far it is.
//!
//! All of it is optional: a server that knows none of it answers with complete holders, and an agent
//! that knows none of it is answered so.

use serde::{Deserialize, Serialize};

use crate::{Holder, lenient};

/// What a find is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// The asker is about to fetch, and feeds others while it does.
    Fetch,
    /// One that a newer agent has.
    #[serde(other)]
    Other,
}

/// How an asker stands with a key that it is about to fetch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fetch {
    /// Bytes that it has already.
    pub offset: u64,
    /// Whom it gave up since it last asked.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "lenient::list"
    )]
    pub tried: Vec<Tried>,
    /// For how many milliseconds it has been waiting for a byte.
    pub waited_ms: u32,
    /// The place in the order that it was given for this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<Rank>,
}

/// A source that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Which.
    pub source: Holder,
    /// Why.
    pub fault: Fault,
}

/// Why a source was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It cannot be reached, or gives nothing and does not say why.
    Silent,
    /// It has nothing to give: its own fetch failed.
    Empty,
    /// It says that its own containerd drains slowly.
    Slow,
    /// It has as many to feed as it takes.
    Busy,
    /// It sent bytes that do not fit.
    Wrong,
    /// A fault that a newer agent knows.
    #[serde(other)]
    Other,
}

/// A node's place in the order of those that fetch a key. It takes from earlier ones only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rank {
    /// When the instance that gave it began, in seconds of the Unix time.
    pub epoch: u32,
    /// Which rack, in the order in which racks got a source.
    pub rack: u32,
    /// Which node of the rack.
    pub place: u32,
}

/// What an asker that is about to fetch a key is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Its place in the order, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<Rank>,
    /// What to do.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Take the bytes from these, the best first.
    Take {
        /// Nodes that have the bytes or are getting them.
        sources: Vec<Source>,
    },
    /// Leave it to containerd to ask the registry, and say each second how far it is.
    Permit {
        /// The permit ends then, unless progress was told before.
        lease_ms: u32,
    },
    /// Ask again then. There is nothing to be had before, and the registry is not to be asked.
    Wait {
        /// In so many milliseconds.
        wait_ms: u32,
    },
}

/// Somebody to take bytes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it serves its peers.
    pub addr: Holder,
    /// Name of its rack.
    pub rack: String,
    /// Bytes that it had when it was last heard of.
    pub bytes: u64,
    /// Whether it has them all.
    pub complete: bool,
}

/// Body of [`PROGRESS`](crate::path::PROGRESS): how far a node is with what it fetches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressRequest {
    /// Where the agent serves its peers.
    pub holder: Holder,
    /// Its group.
    pub group: String,
    /// One entry for each key.
    pub fetches: Vec<Progress>,
}

/// How far a node is with one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The key.
    pub key: String,
    /// Bytes that it has.
    pub bytes: u64,
    /// The place in the order that it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<Rank>,
    /// Whether its containerd takes the bytes from the registry, by a permit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub permit: bool,
    /// How it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// containerd has committed it.
    Complete,
    /// It was given up.
    Failed,
}

/// Reply of [`PROGRESS`](crate::path::PROGRESS).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressReply {
    /// One entry for each key of the request, in its order.
    pub results: Vec<Standing>,
}

/// Whether a node is still what it said it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It holds the permit.
    Permit,
    /// It has lost the permit: its bytes come too slowly, and another goes to the registry.
    Lost,
    /// It holds none, and said so, or nothing is known of it.
    #[serde(other)]
    Noted,
}
