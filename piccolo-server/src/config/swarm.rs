//! The settings of flash crowds.

use clap::{Args, ValueEnum};
use piccolo_api::Holder;
use swarm::Rules;

use super::{InstanceAddress, Server};

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// Flags of flash crowds.
#[derive(Debug, Clone, Copy, Args)]
pub struct Swarm {
    /// Whether nodes that fetch the same blob at the same time are told to take it from each other
    /// while it grows, so that one of them asks the registry. Agents take part by their own flag.
    #[arg(long, env = "PICCOLO_SWARM", value_enum, default_value_t = Switch::On)]
    pub swarm: Switch,
    /// How many nodes may ask the registry for a blob at a time.
    #[arg(
        long,
        env = "PICCOLO_ORIGIN_PERMITS",
        value_name = "NUMBER",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub origin_permits: u16,
    /// From how many nodes of another rack at once a rack's gateway takes a blob, if its agent can. More
    /// than one helps where the nodes' network interfaces carry less than two streams at the pace at
    /// which containerd takes a layer; each further one costs a chunk of 1 MiB of lag and of memory.
    #[arg(
        long,
        env = "PICCOLO_SWARM_STRIPES",
        value_name = "NUMBER",
        default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=8)
    )]
    pub swarm_stripes: u8,
    /// Where other instances over the same database reach this one, with a port if it is not that of
    /// `--listen`. Instances with an address divide the keys that are being fetched among them, so that
    /// one decides for each; they call each other as agents do. Without one this instance decides by
    /// itself whatever it is asked: then each instance may send a node to the registry.
    #[arg(long, env = "PICCOLO_INSTANCE_ADDRESS", value_name = "IP[:PORT]")]
    pub instance_address: Option<InstanceAddress>,
}

/// Shows who of those that fetch a key now takes it from whom.
#[derive(Debug, Clone, Args)]
pub struct Look {
    /// Any instance; it asks the one that decides for the key.
    #[command(flatten)]
    pub server: Server,
    /// The key, such as a layer's digest.
    #[arg(long, value_name = "KEY")]
    pub key: String,
    /// The group of the nodes that fetch it.
    #[arg(long, value_name = "NAME")]
    pub group: String,
    /// A node whose way to the root is wanted, where it serves its peers.
    #[arg(long, value_name = "IP:PORT")]
    pub node: Option<Holder>,
}

impl Swarm {
    /// The rules; `None` where it is off.
    pub fn rules(self) -> Option<Rules> {
        match self.swarm {
            Switch::Off => None,
            Switch::On => Some(Rules {
                permits: usize::from(self.origin_permits),
                stripes: usize::from(self.swarm_stripes),
                ..Rules::default()
            }),
        }
    }
}
