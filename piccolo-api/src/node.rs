//! Keepalives, and the replies that carry no content.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Failure, Holder, Load, Observation, lenient};

/// Body of [`KEEPALIVE`](crate::path::KEEPALIVE).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeepaliveRequest {
    /// The holder, `ip:port`.
    pub host: String,
    /// Its group. The Go agent writes it with a capital.
    #[serde(rename(serialize = "Group"))]
    pub group: String,
    /// Epoch of the set that the agent believes the server has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Number of the last change of that set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// How busy the holder is.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::option"
    )]
    pub load: Option<Load>,
    /// What peers delivered since the last report.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "lenient::list"
    )]
    pub observations: Vec<Observation>,
    /// Which peers failed since the last report.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "lenient::list"
    )]
    pub failures: Vec<Failure>,
    /// The version of the list of rack mates that the holder has, 0 for none; absent from one that wants
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mates: Option<u64>,
}

/// Body of [`LEAVE`](crate::path::LEAVE).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveRequest {
    /// The holder, `ip:port`.
    pub host: String,
    /// Its group.
    #[serde(rename(serialize = "Group"))]
    pub group: String,
}

/// The interval of a node's keepalives, where the server asks for no shorter one.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// Reply of the calls that write: advertise, sync, keepalive, leave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Whether the call took effect.
    pub success: bool,
    /// What happened.
    pub message: String,
    /// The server does not have the set that the caller's epoch and seq speak of; a sync is due.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resync: bool,
    /// To a keepalive that asks for it, where the list is another one than the holder has.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::option"
    )]
    pub mates: Option<Mates>,
    /// The longest time from this call to the next one in milliseconds, where it is shorter than [`KEEPALIVE_INTERVAL`]:
    /// after some times as long without a call the node counts as dead.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::option"
    )]
    pub keepalive_ms: Option<u64>,
}

/// The nodes of the holder's group that are in its rack, itself among them. While no server answers
/// they tell each other from whom to fetch what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mates {
    /// The list's version: another list has another one. Never 0.
    pub version: u64,
    /// The nodes in their order; not all where a rack has very many.
    pub holders: Vec<Holder>,
}

/// Reply of a find that failed because of the request or the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// What was wrong.
    pub error: String,
}

/// Reply of a find for a key without holders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageReply {
    /// What was looked for.
    pub message: String,
}

/// Reply of [`HEALTH`](crate::path::HEALTH).
pub type HealthReply = MessageReply;
