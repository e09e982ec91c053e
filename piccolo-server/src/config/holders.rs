//! Which holders are taken.

use clap::Args;
use daemon::cidr::Cidr;

/// Flags about which holders are taken.
#[derive(Debug, Clone, Args)]
pub struct Holders {
    /// Where nodes are: what is said of a holder elsewhere is refused. Without it, a topology file that
    /// has addresses says where; `0.0.0.0/0,::/0` takes holders that it does not mention, too.
    #[arg(
        long,
        env = "PICCOLO_NODE_CIDRS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub node_cidrs: Vec<Cidr>,
    /// The ports on which agents serve their peers: a holder with another one is refused. Without it,
    /// each port is taken.
    #[arg(
        long,
        env = "PICCOLO_HOLDER_PORT",
        value_name = "PORT",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub holder_port: Vec<u16>,
    /// Refuses what is said of a holder that is no address of the caller. For networks without address
    /// translation between agents and servers: not for a server in a pod, which sees the agent of its
    /// own node at its bridge's address. Without it such calls are taken, and warned of where another
    /// node's address makes them.
    #[arg(long, env = "PICCOLO_BIND_HOLDER")]
    pub bind_holder: bool,
}
