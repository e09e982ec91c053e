//! What an agent that is about to fetch adds to a find, and how it reports its progress.
//!
//! All of it is optional: an older server answers with complete holders, and so does this server to
//! an older agent.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Holder, bounded, lenient};

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
    /// Sources that it gave up since it last asked.
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
    /// It was told to wait, and heard of late who has it all: only what it is to do is asked. The reply
    /// may then name no holders.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// From how many nodes at once it can take; one where it does not say.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::option"
    )]
    pub sources: Option<u32>,
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
    /// It cannot be reached, or sends nothing and gives no reason.
    Silent,
    /// It has no bytes: its own fetch failed.
    Empty,
    /// It reports that its own containerd drains slowly.
    Slow,
    /// All its places are taken.
    Busy,
    /// It sent wrong bytes.
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
    /// Take the bytes from these, the best first: from all of them at once if it said that it can.
    Take {
        /// Nodes that have the bytes or are getting them.
        sources: Vec<Source>,
        /// Milliseconds after which it may ask again for more of them, while it takes from these.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again_ms: Option<u32>,
    },
    /// Let containerd ask the registry, and report progress each second.
    Permit {
        /// Milliseconds until the permit expires, unless progress is reported before.
        lease_ms: u32,
    },
    /// Ask again later. No source has bytes before, and the registry must not be asked.
    Wait {
        /// Milliseconds to wait.
        wait_ms: u32,
    },
}

/// A source of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it serves its peers.
    pub addr: Holder,
    /// Name of its rack.
    pub rack: String,
    /// Bytes that it had at its last report.
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
    #[serde(deserialize_with = "bounded::list::<{ bounded::FETCHES }, _, _>")]
    pub fetches: Vec<Progress>,
    /// Between instances: the address from which the agent called.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::option"
    )]
    pub caller: Option<IpAddr>,
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
    /// The registry from which it takes them, as containerd calls it: what nodes get from one tells who is slow.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::option"
    )]
    pub registry: Option<String>,
    /// Whether it takes the bytes much more slowly than its source gets them, by measurement: nobody is to
    /// take from it any more. An older server does not know it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub slow: bool,
    /// How it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// The node whose chunk list fits bytes that containerd refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Holder>,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// containerd has committed it.
    Complete,
    /// The fetch was abandoned.
    Failed,
}

/// Reply of [`PROGRESS`](crate::path::PROGRESS).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressReply {
    /// One entry for each key of the request, in its order.
    pub results: Vec<Standing>,
}

/// Whether a node still holds what it reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It holds the permit.
    Permit,
    /// It has lost the permit: its bytes come too slowly, and another goes to the registry.
    Lost,
    /// It holds no permit and claims none, or the server does not know it.
    #[serde(other)]
    Noted,
}
