//! The commands that look at the topology file and at the ranking.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

/// Looks at the topology file, and at what the ranking makes of it.
#[derive(Debug, Clone, Subcommand)]
pub enum TopologyCommand {
    /// Checks a file: every mistake, with its line and how to mend it.
    Check {
        /// The topology file.
        file: PathBuf,
    },
    /// Prints the JSON Schema of the file, for editors.
    Schema,
    /// Shows the rack of an address.
    Locate {
        #[command(flatten)]
        source: TopologySource,
        /// The address.
        ip: IpAddr,
    },
    /// Ranks holders for a requester, with every term of each score.
    Explain(Explain),
    /// Shows the bandwidth between all racks, as a running server estimates it.
    Matrix {
        #[command(flatten)]
        server: Server,
        /// Whether cells are coloured by their speed.
        #[arg(long, value_enum, default_value_t = Color::Auto)]
        color: Color,
    },
    /// Prints a first topology file, from the nodes that a running server knows and what was
    /// measured between them.
    Suggest {
        #[command(flatten)]
        server: Server,
    },
}

/// Candidates, and the requester to rank them for.
#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// The source of topology and measurements.
    #[command(flatten)]
    pub source: TopologySource,
    /// The requester's address.
    #[arg(long, value_name = "IP")]
    pub from: IpAddr,
    /// Holders' addresses. They need not exist.
    #[arg(long, value_name = "IP", num_args = 1.., value_delimiter = ',', required_unless_present = "key")]
    pub to: Vec<IpAddr>,
    /// The holders of this key instead, as the server knows them.
    #[arg(long, value_name = "KEY", requires = "group", conflicts_with_all = ["to", "topology"])]
    pub key: Option<String>,
    /// The requester's group.
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
}

/// A running server, or a file alone.
#[derive(Debug, Clone, Args)]
pub struct TopologySource {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// A topology file to go by instead of asking a server; nothing is known of measurements then.
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    pub topology: Option<PathBuf>,
}

/// A running server.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// The server's API.
    #[arg(
        long,
        env = "PICCOLO_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:7789"
    )]
    pub server: String,
    /// Certificates.
    #[command(flatten)]
    pub tls: super::TlsSettings,
    /// A file with the token that the server asks operators for, where it does.
    #[arg(long, env = "PICCOLO_OPERATOR_TOKEN_FILE", value_name = "FILE")]
    pub operator_token_file: Option<PathBuf>,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
