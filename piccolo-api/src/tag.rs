//! What agents and the server say of a tag that the nodes of a group resolve together.
//!
//! An older server knows no such call, and its agents ask the registry each for itself.

use serde::{Deserialize, Serialize};

use crate::Holder;

/// Body of [`TAG`](crate::path::TAG): what does a tag stand for, or what did its registry say?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRequest {
    /// Where the agent serves its peers.
    pub holder: Holder,
    /// Its group.
    pub group: String,
    /// The tag's full name, `registry/repository:tag`.
    pub tag: String,
    /// For how many milliseconds the registry's word is good.
    pub max_age_ms: u64,
    /// What the registry said to this node, which was to ask it; without it, the node asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<RegistryWord>,
}

/// What a tag stands for, as its registry described it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagTarget {
    /// The manifest's digest.
    pub digest: String,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// What a registry said of a tag to the node that asked it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum RegistryWord {
    /// The tag stands for this.
    Digest(TagTarget),
    /// Nothing that helps: it wants credentials, or does not know the tag.
    Refused,
    /// Nothing: it cannot be reached, or something that a newer agent knows.
    #[serde(other)]
    Nothing,
}

/// Reply of [`TAG`](crate::path::TAG).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum TagReply {
    /// A node asked the registry, which said so.
    Known {
        /// What the tag stands for.
        #[serde(flatten)]
        target: TagTarget,
        /// For how many milliseconds that has been known, at most.
        age_ms: u64,
        /// The node that asked.
        by: Holder,
    },
    /// A node asked the registry, which gave it no digest.
    Refused,
    /// Ask the registry, and tell the server what it said.
    Ask,
    /// Another node is asking: come again.
    Wait {
        /// Milliseconds to wait.
        wait_ms: u32,
    },
    /// Ask the registry, for this node alone. Also the reply to who tells something, and what a newer
    /// server may say.
    #[serde(other)]
    Alone,
}
