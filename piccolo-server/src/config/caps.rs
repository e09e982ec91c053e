//! How many nodes, keys and groups are taken.

use clap::Args;
use piccolo_api::Group;

/// Flags about how much is taken of nodes, keys and groups.
#[derive(Debug, Clone, Args)]
pub struct Caps {
    /// The groups that are served; calls for others are refused. Without it, all are.
    #[arg(
        long,
        env = "PICCOLO_GROUPS",
        value_name = "GROUP",
        value_delimiter = ','
    )]
    pub groups: Vec<Group>,
    /// Nodes that one address, or IPv6 network of 64 bits, may make; further ones are refused until it has
    /// fewer. Agents behind address translation share one. Counted by each instance for itself.
    #[arg(
        long,
        env = "PICCOLO_NODES_PER_ADDRESS",
        value_name = "NUMBER",
        default_value_t = 4096,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub nodes_per_address: u32,
    /// Nodes of one group and address family; of further ones only the first of an address that speaks
    /// for itself is taken.
    #[arg(
        long,
        env = "PICCOLO_NODES_PER_GROUP",
        value_name = "NUMBER",
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub nodes_per_group: u32,
    /// Keys (blobs and tags) of one node.
    #[arg(
        long,
        env = "PICCOLO_KEYS_PER_NODE",
        value_name = "NUMBER",
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub keys_per_node: u32,
    /// Keys of all nodes that one address made. Agents behind address translation share one.
    #[arg(
        long,
        env = "PICCOLO_KEYS_PER_ADDRESS",
        value_name = "NUMBER",
        default_value_t = 4_000_000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000)
    )]
    pub keys_per_address: u64,
    /// Groups, each for each address family, in which one address may have nodes for it to make a new one.
    #[arg(
        long,
        env = "PICCOLO_GROUPS_PER_ADDRESS",
        value_name = "NUMBER",
        default_value_t = 32,
        value_parser = clap::value_parser!(u32).range(1..=8192)
    )]
    pub groups_per_address: u32,
}
