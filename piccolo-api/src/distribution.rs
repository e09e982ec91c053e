//! Advertise, sync and find.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Failure, Fetch, Holder, Intent, Load, Observation, Turn, blank, bounded, lenient};

/// Body of [`ADVERTISE`](crate::path::ADVERTISE) and [`SYNC`](crate::path::SYNC).
///
/// The first three members are the Go agent's and required. Texts are left unchecked here: one
/// bad key must not make the other keys of a call unreadable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdvertiseRequest {
    /// Where the agent serves its peers, `ip:port`.
    pub holder: String,
    /// Keys that the holder has. An advertise adds them, a sync replaces the set by them.
    #[serde(deserialize_with = "bounded::texts::<{ bounded::KEYS }, _>")]
    pub keys: Vec<String>,
    /// The holder's group.
    pub group: String,
    /// Keys that the holder has no more (advertise only).
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::texts::<{ bounded::KEYS }, _>"
    )]
    pub removed: Vec<String>,
    /// A new number at each start of the agent. With `seq` it makes deltas continuous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Number of this change of the set within the epoch; a delta with `seq` n is applied to a set
    /// at n - 1, a sync sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
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
    /// How busy the holder is.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::option"
    )]
    pub load: Option<Load>,
}

/// Query of [`FIND_KEY`](crate::path::FIND_KEY). Names are case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindKeyQuery {
    /// The key that is looked for.
    pub key: String,
    /// The requester's group.
    pub group: String,
    /// How many holders at most; absent, empty or not positive: 100.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "blank::option"
    )]
    pub count: Option<i64>,
    /// The requester's address; the caller's where it is absent or empty.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "blank::option"
    )]
    pub request_host: Option<IpAddr>,
}

/// Reply of [`FIND_KEY`](crate::path::FIND_KEY).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindKeyReply {
    /// The key of the request.
    pub key: String,
    /// The group of the request.
    #[serde(rename = "Group")]
    pub group: String,
    /// Holders, best first.
    pub holders: Vec<String>,
    /// How many holders this reply names.
    pub total: usize,
    /// The same holders in the same order, with details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
}

/// One holder of a find.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Where it serves its peers.
    pub addr: Holder,
    /// Name of its rack.
    pub rack: String,
    /// Whether it has the whole blob.
    pub state: PeerState,
    /// The ranking's score; higher is better, comparable within one reply only.
    pub score: f64,
}

/// What a holder has of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerState {
    /// All of it.
    Complete,
    /// It is fetching it and serves what it has.
    Fetching,
}

/// Body of [`FIND`](crate::path::FIND): several keys in one round trip.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindRequest {
    /// The keys that are looked for.
    #[serde(deserialize_with = "bounded::list::<{ bounded::KEYS }, _, _>")]
    pub keys: Vec<String>,
    /// The requester's group.
    pub group: String,
    /// How many holders of each key at most; absent or not positive: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// The requester's address; the caller's where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_host: Option<IpAddr>,
    /// What the find is for, where it is for more than knowing.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::option"
    )]
    pub intent: Option<Intent>,
    /// Where an asker that is about to fetch serves its peers.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::option"
    )]
    pub holder: Option<Holder>,
    /// How an asker that is about to fetch stands with each key, in the keys' order.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "lenient::list"
    )]
    pub fetches: Vec<Fetch>,
    /// Between instances: the address from which the agent called.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::option"
    )]
    pub caller: Option<IpAddr>,
}

/// Reply of [`FIND`](crate::path::FIND).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FindReply {
    /// The group of the request.
    #[serde(rename = "Group")]
    pub group: String,
    /// One entry for each key of the request, in its order.
    pub results: Vec<Found>,
}

/// Holders of one key; none is no error here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The key of the request.
    pub key: String,
    /// Holders, best first.
    pub peers: Vec<Peer>,
    /// What an asker that is about to fetch is to do; where it is not said, it takes from the
    /// holders, or lets containerd ask the registry.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "lenient::option"
    )]
    pub swarm: Option<Turn>,
}
