//! The wire contract of the server's HTTP API: names, requests and replies.
//!
//! The first four calls are those of the Go Piccolo that is deployed today and stay compatible
//! with it in both directions. Everything that is new is an optional field or a new path, which
//! the Go programs ignore. The crate holds no behaviour beyond reading and writing these shapes.

mod blank;
mod bounded;
mod case;
mod distribution;
mod holder;
mod lenient;
mod names;
mod node;
mod report;
mod swarm;
mod tag;

pub use self::{
    case::{from_any_case, from_go},
    distribution::{
        AdvertiseRequest, FindKeyQuery, FindKeyReply, FindReply, FindRequest, Found, Peer,
        PeerState,
    },
    holder::{Holder, HolderError},
    names::{Group, Key, MAX_GROUP_LEN, MAX_KEY_LEN, NameError},
    node::{
        Ack, ErrorReply, HealthReply, KEEPALIVE_INTERVAL, KeepaliveRequest, LeaveRequest, Mates,
        MessageReply,
    },
    report::{Failure, FailureKind, Flow, Load, Observation},
    swarm::{
        End, Fault, Fetch, Intent, Progress, ProgressReply, ProgressRequest, Rank, Source,
        Standing, Tried, Turn, Verdict,
    },
    tag::{RegistryWord, TagReply, TagRequest, TagTarget},
};

/// Paths of the API, relative to the server's base URL.
pub mod path {
    /// Adds keys to a holder's set, and since `epoch` and `seq` also removes some.
    pub const ADVERTISE: &str = "/api/v1/distribution/advertise";
    /// Replaces a holder's set.
    pub const SYNC: &str = "/api/v1/distribution/sync";
    /// Holders of one key, best first.
    pub const FIND_KEY: &str = "/api/v1/distribution/findkey";
    /// Holders of several keys in one round trip.
    pub const FIND: &str = "/api/v1/distribution/find";
    /// How far a node is with what it fetches.
    pub const PROGRESS: &str = "/api/v1/distribution/progress";
    /// What a tag stands for, asked of its registry by one node for all of a group.
    pub const TAG: &str = "/api/v1/distribution/tag";
    /// A keepalive.
    pub const KEEPALIVE: &str = "/api/v1/keepalive";
    /// The agent is going down and is not handed out any more.
    pub const LEAVE: &str = "/api/v1/leave";
    /// Each candidate of a find with every term of its score.
    pub const EXPLAIN: &str = "/api/v1/explain";
    /// The nodes that fetch a key, each with its source.
    pub const SWARM: &str = "/api/v1/swarm";
    /// The topology in force, with the number of hosts in each rack.
    pub const TOPOLOGY: &str = "/api/v1/topology";
    /// The rack of an address.
    pub const LOCATE: &str = "/api/v1/topology/locate";
    /// A first topology file, from the nodes that are known and what was measured between them.
    pub const SUGGEST: &str = "/api/v1/topology/suggest";
    /// Prior, observed and estimated bandwidth of each pair of racks.
    pub const BANDWIDTH: &str = "/api/v1/bandwidth";
    /// Answers 200 while the process lives.
    pub const HEALTH: &str = "/healthz";
}
