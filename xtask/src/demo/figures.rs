//! The demo's figures, and their JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use testbed::{Bed, Image, Node};

use super::pull::Round;

/// Everything that the demo measures. Bytes are those of HTTP bodies.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Whether the server and the agents showed each other certificates.
    pub(super) tls: bool,
    /// Copies of the image that the registry sent with Piccolo.
    pub(super) registry_copies: f64,
    /// Copies that came into a rack from outside with Piccolo, the most of all racks.
    pub(super) copies_into_rack: f64,
    pub(super) registry_bytes_with: u64,
    pub(super) registry_bytes_without: u64,
    /// What one node needs: manifests, configuration, layers as packed.
    pub(super) image_bytes: u64,
    pub(super) seconds_with: f64,
    pub(super) seconds_without: f64,
    pub(super) nodes: Vec<NodeFigures>,
}

/// One node's part.
#[derive(Debug, Serialize)]
pub(super) struct NodeFigures {
    pub(super) name: String,
    pub(super) rack: String,
    pub(super) address: String,
    pub(super) seconds: f64,
    pub(super) seconds_without: f64,
    pub(super) from_registry: u64,
    pub(super) from_peers: BTreeMap<String, u64>,
}

impl Figures {
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("encoding the figures")?;
        fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))
    }
}

impl NodeFigures {
    /// What all nodes did, the bytes from peers as their agents count them.
    pub(super) fn gather(bed: &Bed, without: &Round, with: &Round) -> Result<Vec<Self>> {
        bed.nodes
            .iter()
            .map(|node| Self::of(node, without, with))
            .collect()
    }

    fn of(node: &Node, without: &Round, with: &Round) -> Result<Self> {
        let host = &node.host;
        let missing = || format!("{} has not pulled", host.name);
        let pulled = with.node(host.address).with_context(missing)?;
        let agent = node.agent.as_ref().with_context(missing)?;
        let received = agent.received()?;
        Ok(Self {
            name: host.name.clone(),
            rack: host.rack.clone(),
            address: host.address.to_string(),
            seconds: pulled.seconds,
            seconds_without: without.node(host.address).with_context(missing)?.seconds,
            from_registry: pulled.from_registry,
            from_peers: received
                .iter()
                .map(|(peer, bytes)| (peer.to_string(), *bytes))
                .collect(),
        })
    }
}

/// Most copies that entered a rack, from the registry and from other racks.
pub(super) fn copies_into_rack(bed: &Bed, nodes: &[NodeFigures], image: &Image) -> f64 {
    let mut racks: BTreeMap<&str, u64> = BTreeMap::new();
    for node in nodes {
        let is_near = |peer: &str| {
            let mut all = bed.nodes.iter();
            all.any(|other| other.host.address.to_string() == peer && other.host.rack == node.rack)
        };
        let peers = node.from_peers.iter();
        let from_far = peers.filter(|(peer, _)| !is_near(peer));
        let bytes = node.from_registry + from_far.map(|(_, bytes)| bytes).sum::<u64>();
        *racks.entry(&node.rack).or_default() += bytes;
    }
    image.copies(racks.into_values().max().unwrap_or_default())
}
