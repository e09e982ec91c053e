//! What a running agent says of itself: the reply of `GET /status`.

use std::net::SocketAddr;

use piccolo_api::FailureKind;
use serde::{Deserialize, Serialize};

use crate::{
    content::Overview,
    discovery::{ServerView, Standing},
    ebpf::{Mode, Need},
    keeper::HostsStatus,
};

/// The whole status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Version, commit and target.
    pub version: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Whether the agent is ready.
    pub ready: bool,
    /// The set of nodes that content is shared with.
    pub group: String,
    /// Where peers find this node.
    pub holder: Option<String>,
    /// Which connections with servers and other agents are encrypted: `off`, `permissive`, `required`.
    #[serde(default)]
    pub tls: String,
    /// Where the agent listens.
    pub addresses: Addresses,
    /// Whether containerd asks the agent first.
    #[serde(default)]
    pub hosts: HostsStatus,
    /// What this node has.
    pub content: Overview,
    /// The server's instances, in the order of preference.
    pub servers: Vec<ServerView>,
    /// How this agent stands with the server.
    pub standing: Standing,
    /// What containerd was given.
    pub mirror: MirrorTotals,
    /// How peers are counted.
    pub accounting: Mode,
    /// What counting them in the kernel needs, and what of it the agent has.
    #[serde(default)]
    pub accounting_needs: Vec<Need>,
    /// What went between this node and each peer.
    pub peers: Vec<PeerStatus>,
    /// Peers that are not trusted now.
    pub quarantines: Vec<QuarantineStatus>,
    /// What this node fetches together with others.
    #[serde(default)]
    pub swarm: SwarmStatus,
    /// What it does about tags.
    #[serde(default)]
    pub tags: TagsStatus,
    /// Uploads in flight.
    pub uploads: u64,
    /// Uploads that are taken at once.
    pub upload_slots: u64,
}

/// Where the agent listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// For containerd.
    pub mirror: SocketAddr,
    /// For peers.
    pub peer: SocketAddr,
    /// For probes, Prometheus and `pi-agent status`.
    pub admin: SocketAddr,
}

/// What containerd was given since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MirrorTotals {
    /// Bytes from this node's own content.
    pub own_bytes: u64,
    /// Bytes from peers.
    pub peer_bytes: u64,
    /// Requests answered from this node's own content.
    pub own: u64,
    /// Requests answered from peers.
    pub peer: u64,
    /// Requests left to the next mirror or the registry.
    pub misses: u64,
    /// Requests for manifests of private repositories, left to their registries.
    #[serde(default)]
    pub private: u64,
    /// Bytes that containerd got elsewhere after it had asked here.
    pub missed_bytes: u64,
    /// Bytes given of all bytes that containerd got after it had asked here; nothing before the
    /// first.
    pub hit_ratio: Option<f64>,
    /// Bytes of objects sent to peers.
    pub served_bytes: u64,
}

/// What went between this node and a peer since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The peer's address.
    pub addr: String,
    /// Bytes of objects from it.
    pub received_bytes: u64,
    /// Bytes of objects to it.
    pub sent_bytes: u64,
    /// Bytes of HTTP from it, heads and bodies, as the data path counts them.
    pub received_http_bytes: u64,
    /// Bytes of HTTP to it, heads and bodies, as the data path counts them.
    pub sent_http_bytes: u64,
    /// Bytes that TLS added to those from it, as the data path counts them.
    #[serde(default)]
    pub received_tls_bytes: u64,
    /// Bytes that TLS added to those to it, as the data path counts them.
    #[serde(default)]
    pub sent_tls_bytes: u64,
    /// Bytes of TCP payload from it, as the accounting in force counts them.
    pub received_tcp_bytes: u64,
    /// Bytes of TCP payload to it that it has acknowledged, as the accounting in force counts them.
    pub sent_tcp_bytes: u64,
    /// Bytes per second from it, between the last two looks.
    pub receive_rate: u64,
    /// Bytes per second to it, between the last two looks.
    pub send_rate: u64,
    /// Bytes per second from it while it sent.
    pub receive_throughput: Option<u64>,
    /// Bytes per second to it while it was sent to.
    pub send_throughput: Option<u64>,
    /// Segments sent again.
    pub retransmits: u64,
    /// Round-trip time in microseconds.
    pub rtt_us: Option<u64>,
    /// Its rack, once a find has named it.
    pub rack: Option<String>,
    /// How often it did not deliver.
    pub failures: u64,
    /// What was the matter the last time.
    pub last_failure: Option<FailureKind>,
    /// Seconds since then.
    #[serde(default)]
    pub last_failure_age_s: Option<u64>,
}

/// What a node fetches together with others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SwarmStatus {
    /// Whether it takes part in crowds.
    pub on: bool,
    /// How many nodes its rack has, itself among them, as far as the server said: they coordinate while
    /// no server answers.
    #[serde(default)]
    pub rack_mates: usize,
    /// The blobs that it is getting so now.
    pub blobs: Vec<SwarmBlob>,
}

/// What a node does about tags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagsStatus {
    /// Whether it answers them.
    pub resolved: bool,
    /// Whether one node asks the registry for all of the group.
    pub shared: bool,
    /// The patterns of repositories whose tags and manifests it leaves to their registries.
    #[serde(default)]
    pub private: Vec<String>,
}

/// A blob that a node is getting together with others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwarmBlob {
    /// Its digest.
    pub digest: String,
    /// Bytes that are there.
    pub bytes: u64,
    /// Bytes of the whole.
    pub total: u64,
    /// The node's place in the order, once it has one.
    pub rank: Option<String>,
    /// The peer that it takes from, or the first of them.
    pub takes_from: Option<String>,
    /// The others that it takes from at the same time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes_also_from: Vec<String>,
    /// Whether its containerd asks the registry, by a permit.
    pub permit: bool,
    /// Whether it takes it much more slowly than its source gets it, and feeds nobody any more.
    #[serde(default)]
    pub slow: bool,
    /// For how long it has been waiting for somebody to take from.
    pub waiting_seconds: Option<f64>,
    /// The peers that are given it now.
    pub feeds: Vec<String>,
}

/// A peer that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineStatus {
    /// The peer.
    pub peer: String,
    /// The object for which it is not trusted; nothing stands for all.
    pub digest: Option<String>,
    /// When it is trusted again.
    pub ends_in_seconds: u64,
}
