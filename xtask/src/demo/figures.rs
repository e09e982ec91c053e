//! The demo's figures, and their JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use testbed::{Bed, Node};

use super::pull::Round;

/// Everything that the demo measures. Bytes are those of HTTP bodies.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
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
