//! What is to be simulated.

use std::time::Duration;

use serde::Serialize;
use swarm::Rules;

use crate::fault::Faults;
use crate::numbers::{count, float};
use crate::units::{Rate, Size};

/// A cluster, an image, and what goes wrong.
#[derive(Debug, Clone)]
pub struct Plan {
    pub nodes: usize,
    pub racks: usize,
    /// Of racks next to each other; racks are dealt to them evenly.
    pub zones: usize,
    /// The image, in layers of the same size.
    pub size: Size,
    pub layers: usize,
    /// Layers that a node pulls at once.
    pub at_once: usize,
    pub nic: Rate,
    /// Of a rack, each way.
    pub uplink: Rate,
    pub registry: Rate,
    /// What containerd takes of one layer.
    pub containerd: Rate,
    /// From a node to the next, and the length of a step.
    pub hop: Duration,
    /// Until the server's answer is there.
    pub answer: Duration,
    /// Nodes begin evenly spread over this time.
    pub arrivals: Duration,
    /// Number of nodes, from the first on, that have the image already.
    pub holders: usize,
    pub faults: Faults,
    pub rules: Rules,
    pub seed: u64,
}

/// Who decides who takes from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The product's rules.
    Swarm,
    /// Everybody takes from the registry.
    Registry,
    /// A binary tree in the order of arrival, blind to racks.
    BinaryTree,
    /// Each takes from the least busy of 15 that it is shown of all who began before it, blind to
    /// racks.
    Sample,
}

/// Why a plan cannot be simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("{what} is {value}, and has to be {least} to {most}")]
    Range {
        what: &'static str,
        value: usize,
        least: usize,
        most: usize,
    },
    #[error("{what} is {value}, and has to be a share of 0 to 1")]
    Share { what: &'static str, value: String },
    #[error("{what} takes no time: it has to be a millisecond at least")]
    Instant { what: &'static str },
    #[error("rack {rack} is cut off, and there are {racks}, counted from 0")]
    NoSuchRack { rack: usize, racks: usize },
}

impl Plan {
    /// More transfers than these do not fit into memory.
    const MAX_TRANSFERS: usize = 2_000_000;

    pub(crate) fn check(&self) -> Result<(), PlanError> {
        let range = |what, value: usize, least, most| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(PlanError::Range {
                    what,
                    value,
                    least,
                    most,
                })
            }
        };
        range("the number of nodes", self.nodes, 1, 1_000_000)?;
        range("the number of racks", self.racks, 1, self.nodes)?;
        range("the number of zones", self.zones, 1, self.racks)?;
        range("the number of layers", self.layers, 1, 1_000)?;
        range("the number of layers at once", self.at_once, 1, 1_000)?;
        range(
            "nodes times layers",
            self.nodes * self.layers,
            1,
            Self::MAX_TRANSFERS,
        )?;
        range("the number of holders", self.holders, 0, self.nodes - 1)?;
        if self.hop < Duration::from_millis(1) {
            return Err(PlanError::Instant { what: "a hop" });
        }
        let slow = self.faults.slow.map_or(0.0, |slow| slow.share);
        for (what, value) in [("silent deaths", self.faults.silent), ("slow nodes", slow)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(PlanError::Share {
                    what,
                    value: value.to_string(),
                });
            }
        }
        match self.faults.cut {
            Some(cut) if cut.rack >= self.racks => Err(PlanError::NoSuchRack {
                rack: cut.rack,
                racks: self.racks,
            }),
            _ => Ok(()),
        }
    }

    /// One node alone, with the same image and an idle registry.
    pub(crate) fn solo(&self) -> Self {
        Self {
            nodes: 1,
            racks: 1,
            zones: 1,
            holders: 0,
            arrivals: Duration::ZERO,
            faults: Faults::default(),
            ..self.clone()
        }
    }

    pub(crate) fn rack_of(&self, node: usize) -> usize {
        // The same as float arithmetic would give, and even however many there are.
        node * self.racks / self.nodes
    }

    pub(crate) fn zone_of(&self, rack: usize) -> usize {
        rack * self.zones / self.racks
    }

    /// From how many a gateway takes: what its agent would say that knows its NIC and what its
    /// containerd took of earlier images.
    pub(crate) fn stripes(&self) -> usize {
        let layers = float(self.at_once.min(self.layers));
        self.rules
            .stripes_for(self.nic.0, self.containerd.0 * layers)
    }

    pub(crate) fn layer_bytes(&self) -> f64 {
        self.size.bytes() / float(self.layers)
    }

    /// A duration in steps, one at least where it is any.
    pub(crate) fn steps(&self, time: Duration) -> usize {
        count((time.as_secs_f64() / self.hop.as_secs_f64()).ceil())
    }

    /// The time at a step.
    pub(crate) fn time(&self, step: usize) -> Duration {
        self.hop
            .saturating_mul(u32::try_from(step).unwrap_or(u32::MAX))
    }
}

impl Policy {
    /// All of them, the product's last.
    pub const ALL: [Self; 4] = [Self::Registry, Self::BinaryTree, Self::Sample, Self::Swarm];

    pub fn name(self) -> &'static str {
        match self {
            Self::Swarm => "swarm",
            Self::Registry => "registry",
            Self::BinaryTree => "binary-tree",
            Self::Sample => "sample-15",
        }
    }
}
