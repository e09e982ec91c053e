//! Which nodes there are for this one.

use clap::Args;
use daemon::cidr::Cidr;
use piccolo_api::Group;

/// Settings about other nodes.
#[derive(Debug, Clone, Args)]
pub struct Nodes {
    /// The set of nodes to share content with.
    #[arg(
        long,
        env = "PI_AGENT_GROUP",
        value_name = "NAME",
        default_value = "default"
    )]
    #[arg(value_parser = super::group)]
    pub group: Group,
    /// Where the nodes are: what a server or a peer names elsewhere is not asked. Without it they may be
    /// anywhere but at loopback, link-local and broadcast addresses.
    #[arg(
        long,
        env = "PI_AGENT_NODE_CIDRS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub node_cidrs: Vec<Cidr>,
}
