//! The commands of a small certificate authority.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use daemon::tls::Role;

use super::signer::PkiServe;

/// A small certificate authority, for those who have none.
#[derive(Debug, Clone, Subcommand)]
pub enum PkiCommand {
    /// Commands on files.
    #[command(flatten)]
    Files(PkiFiles),
    /// Issues certificates to the pods of agents and servers in Kubernetes, as docs/tls.md says.
    Serve(Box<PkiServe>),
}

/// What makes files, and ends.
#[derive(Debug, Clone, Subcommand)]
pub enum PkiFiles {
    /// Makes an authority: the certificate that all programs trust, and the key that signs theirs.
    Init(PkiInit),
    /// Makes a key and a certificate for one program or person.
    Issue(PkiIssue),
}

/// A new authority.
#[derive(Debug, Clone, Args)]
pub struct PkiInit {
    /// Where it is kept, as `ca.crt` and `ca.key`.
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,
    /// For how many days it counts.
    #[arg(long, value_name = "NUMBER", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// Replaces an authority that is there: nobody trusts its certificates any more who trusts the new one alone.
    #[arg(long)]
    pub replace: bool,
}

/// A certificate to issue.
#[derive(Debug, Clone, Args)]
pub struct PkiIssue {
    /// Where the authority is.
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,
    /// What its owner does.
    #[arg(long, value_enum)]
    pub role: PkiRole,
    /// The group of an agent.
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// The name of an agent's node, of an instance of the server, or of a person.
    #[arg(long, visible_alias = "name", value_name = "NAME")]
    pub node: String,
    /// An address of its owner: of an agent, each that it may advertise; of a server, each by which it is
    /// called; once for each.
    #[arg(long, value_name = "IP")]
    pub address: Vec<IpAddr>,
    /// A host name by which a server is called; once for each.
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// For how many days it counts.
    #[arg(long, value_name = "NUMBER", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// The trust domain in its URI name; any will do.
    #[arg(long, value_name = "NAME", default_value = "piccolo")]
    pub domain: String,
    /// Where `tls.crt`, `tls.key` and `ca.crt` are written; ROLE-NODE beside the authority where it is not said.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replaces a certificate and its key that are there.
    #[arg(long)]
    pub replace: bool,
}

/// What the owner of a certificate does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PkiRole {
    /// A node's agent.
    Agent,
    /// An instance of the server.
    Server,
    /// A person, or a program, that may change things.
    Operator,
    /// One that may only look, as Prometheus.
    Reader,
}

impl From<PkiRole> for Role {
    fn from(role: PkiRole) -> Self {
        match role {
            PkiRole::Agent => Self::Agent,
            PkiRole::Server => Self::Server,
            PkiRole::Operator => Self::Operator,
            PkiRole::Reader => Self::Reader,
        }
    }
}
