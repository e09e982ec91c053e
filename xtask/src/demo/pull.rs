//! Nodes that pull at the same time, and what it cost.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use testbed::{Bed, Image, Node};

use super::IMAGE;
use super::screen::{Screen, megabytes};

const DEADLINE: Duration = Duration::from_mins(3);
const TICK: Duration = Duration::from_millis(200);

/// What the pulls of some nodes cost.
#[derive(Debug)]
pub(super) struct Round {
    seconds: f64,
    nodes: BTreeMap<IpAddr, Pulled>,
}

/// One node's pull.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulled {
    pub(super) seconds: f64,
    pub(super) from_registry: u64,
}

impl Round {
    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    pub(super) fn registry_bytes(&self) -> u64 {
        self.nodes.values().map(|node| node.from_registry).sum()
    }

    pub(super) fn node(&self, address: IpAddr) -> Option<Pulled> {
        self.nodes.get(&address).copied()
    }
}

/// Pulls the demo's image on all these nodes at once, and shows how far they are.
pub(super) fn pull_round(
    bed: &Bed,
    nodes: &[Node],
    image: &Image,
    screen: &mut Screen,
) -> Result<Round> {
    let before: Vec<_> = nodes.iter().map(|node| from_registry(bed, node)).collect();
    let start = Instant::now();
    let seconds = thread::scope(|scope| {
        let pulls: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(|| pull(node)))
            .collect();
        while pulls.iter().any(|pull| !pull.is_finished()) {
            screen.progress(&progress(nodes, image));
            thread::sleep(TICK);
        }
        let results = pulls
            .into_iter()
            .map(|pull| pull.join().map_err(|_panic| anyhow!("a pull panicked"))?);
        results.collect::<Result<Vec<f64>>>()
    })?;
    let total = start.elapsed().as_secs_f64();
    bed.registry.settle()?;
    let mut round = Round {
        seconds: total,
        nodes: BTreeMap::new(),
    };
    for ((node, seconds), before) in nodes.iter().zip(seconds).zip(before) {
        let from_registry = from_registry(bed, node).saturating_sub(before);
        screen.say(&format!(
            "  {} has it after {seconds:.1} s, {} from the registry",
            node.host.name,
            megabytes(from_registry)
        ));
        round.nodes.insert(
            node.host.address,
            Pulled {
                seconds,
                from_registry,
            },
        );
    }
    Ok(round)
}

fn pull(node: &Node) -> Result<f64> {
    let start = Instant::now();
    let name = Bed::image_name(IMAGE);
    node.containerd
        .cri()
        .pull(&name, DEADLINE)
        .with_context(|| format!("on {}", node.host.name))?;
    Ok(start.elapsed().as_secs_f64())
}

fn from_registry(bed: &Bed, node: &Node) -> u64 {
    bed.registry.bytes_to(node.host.address)
}

fn progress(nodes: &[Node], image: &Image) -> String {
    let parts = nodes.iter().map(|node| {
        let percent = node.containerd.content_bytes() * 100 / image.bytes().max(1);
        format!("{} {:>3} %", node.host.name, percent.min(100))
    });
    parts.collect::<Vec<_>>().join("   ")
}
