//! What the command line, the environment and the settings file say: the one place that reads them.

mod caps;
mod database;
mod duration;
mod holders;
mod instance;
mod pki;
mod signer;
mod swarm;
mod topology;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use daemon::settings::{self, SettingsError};

use self::database::GroupDatabaseParser;
use crate::connections::PER_ADDRESS;

pub use self::{
    caps::Caps,
    database::{Address, DatabaseError, DatabaseFile, DatabaseFileError, GroupDatabase},
    holders::Holders,
    instance::{InstanceAddress, InstanceAddressError},
    pki::{PkiCommand, PkiFiles, PkiInit, PkiIssue, PkiRole},
    signer::{Account, AgentAccount, ObjectName, PkiServe},
    swarm::{Look, Swarm, Switch},
    topology::{Color, Explain, Server, TopologyCommand, TopologySource},
};

/// The discovery server of Piccolo: who has a blob, and whom of them to ask first.
#[derive(Debug, Parser)]
#[command(name = "piccolo-server", version = daemon::VERSION)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `serve` where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of `serve`.
    #[command(flatten)]
    pub serve: Serve,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the server (the default).
    Serve(Box<Serve>),
    /// Brings the databases' schema up to date and ends.
    Migrate(Migrate),
    /// Looks at the topology file, and at what the ranking makes of it.
    #[command(subcommand)]
    Topology(TopologyCommand),
    /// Shows who of those that fetch a key now takes it from whom.
    Swarm(Look),
    /// Makes certificates, for those who have no authority of their own.
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Prints the reference of all metrics as Markdown.
    #[command(hide = true)]
    MetricsDoc,
    /// Prints the reference of all settings as Markdown.
    #[command(hide = true)]
    SettingsDoc,
}

daemon::process_settings!("PICCOLO");
daemon::tls_settings!("PICCOLO");

/// Where the data is.
#[derive(Debug, Clone, Args)]
pub struct Data {
    /// A database, for all groups or with `GROUP=` before it for one; once for each. Without any,
    /// an SQLite file in the state directory.
    #[arg(
        long,
        env = "PICCOLO_DATABASE",
        value_name = "[GROUP=]URL",
        value_delimiter = ' ',
        hide_env_values = true,
        value_parser = GroupDatabaseParser
    )]
    pub database: Vec<GroupDatabase>,
    /// A file with one database a line, as `--database` has them; `#` begins a comment. Other users of the
    /// host see flags and their passwords in the list of processes, and not this file.
    #[arg(
        long,
        env = "PICCOLO_DATABASE_FILE",
        value_name = "FILE",
        conflicts_with = "database"
    )]
    pub database_file: Option<DatabaseFile>,
    /// A read replica of the MySQL database of all groups, or of one with `GROUP=` before it; once
    /// for each. Finds are answered from replicas, and may then miss the last seconds.
    #[arg(
        long,
        env = "PICCOLO_REPLICA",
        value_name = "[GROUP=]URL",
        value_delimiter = ' ',
        hide_env_values = true,
        value_parser = GroupDatabaseParser
    )]
    pub replica: Vec<GroupDatabase>,
    /// A file with one read replica a line.
    #[arg(
        long,
        env = "PICCOLO_REPLICA_FILE",
        value_name = "FILE",
        conflicts_with = "replica"
    )]
    pub replica_file: Option<DatabaseFile>,
    /// Connections to each MySQL server, at most.
    #[arg(
        long,
        env = "PICCOLO_DATABASE_CONNECTIONS",
        value_name = "NUMBER",
        default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(2..=1000)
    )]
    pub database_connections: u32,
    /// Where the SQLite file is kept.
    #[arg(
        long,
        env = "PICCOLO_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/piccolo-server"
    )]
    pub state_dir: PathBuf,
}

/// Flags of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Log and settings file.
    #[command(flatten)]
    pub process: Process,
    /// Databases.
    #[command(flatten)]
    pub data: Data,
    /// Leaves the databases' schema as it is, and does not start where it is not up to date:
    /// `piccolo-server migrate` is run before.
    #[arg(long, env = "PICCOLO_NO_MIGRATE")]
    pub no_migrate: bool,
    /// Flash crowds.
    #[command(flatten)]
    pub swarm: Swarm,
    /// Where agents call.
    #[arg(
        long,
        env = "PICCOLO_LISTEN",
        value_name = "ADDR",
        default_value = "[::]:7789"
    )]
    pub listen: SocketAddr,
    /// Where probes and Prometheus call.
    #[arg(
        long,
        env = "PICCOLO_ADMIN_LISTEN",
        value_name = "ADDR",
        default_value = "[::]:7790"
    )]
    pub admin_listen: SocketAddr,
    /// Connections of one address, or IPv6 network of 64 bits, to where agents call; further ones
    /// are closed. Agents behind address translation share one. An agent keeps one connection, for
    /// as long as it has calls to make and three seconds more.
    #[arg(
        long,
        env = "PICCOLO_CONNECTIONS_PER_ADDRESS",
        value_name = "NUMBER",
        default_value_t = PER_ADDRESS,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=65_536)
    )]
    pub connections_per_address: usize,
    /// Certificates.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// Who issues them.
    #[command(flatten)]
    pub issuer: IssuerSettings,
    /// A file with a token: who sends it as a bearer token may make the calls of operators, and read the
    /// metrics; without a certificate nobody else may then.
    #[arg(long, env = "PICCOLO_OPERATOR_TOKEN_FILE", value_name = "FILE")]
    pub operator_token_file: Option<PathBuf>,
    /// What is taken of nodes, keys and groups.
    #[command(flatten)]
    pub caps: Caps,
    /// A node that was silent for this long is not handed out any more.
    #[arg(
        long,
        env = "PICCOLO_NODE_TIMEOUT",
        value_name = "TIME",
        default_value = "2m",
        value_parser = duration::parse
    )]
    pub node_timeout: Duration,
    /// The same for the node of a Go agent, which gives a keepalive only every ten minutes; what is less than
    /// `--node-timeout` counts as that.
    #[arg(
        long,
        env = "PICCOLO_GO_NODE_TIMEOUT",
        value_name = "TIME",
        default_value = "31m",
        value_parser = duration::parse
    )]
    pub go_node_timeout: Duration,
    /// Which holders are taken.
    #[command(flatten)]
    pub holders: Holders,
    /// The topology file, as in docs/topology.md; it is read again when it changes, and on SIGHUP.
    /// Without one, racks are guessed from address prefixes.
    #[arg(long, env = "PICCOLO_TOPOLOGY", value_name = "FILE")]
    pub topology: Option<PathBuf>,
    /// How long it may take until it shows in finds that another server has stored new holders of a
    /// key: this long where nobody has it, twice as long where ten nodes do, and up to sixty times as
    /// long where six hundred do. What this server stores shows at once, unless replicas answer. As
    /// long as that, holders are remembered; while no other server writes to the database, for as long
    /// as there is room. 0 remembers none.
    #[arg(
        long,
        env = "PICCOLO_FIND_CACHE_TTL",
        value_name = "TIME",
        default_value = "1s",
        value_parser = duration::parse
    )]
    pub find_cache_ttl: Duration,
}

/// Flags of `migrate`.
#[derive(Debug, Clone, Args)]
pub struct Migrate {
    /// Log and settings file.
    #[command(flatten)]
    pub process: Process,
    /// Databases.
    #[command(flatten)]
    pub data: Data,
}

impl Cli {
    /// Reads the command line, over the environment, over the settings file. Prints help, version
    /// and errors of the command line itself, and ends the process there, as clap does.
    ///
    /// # Errors
    /// When the settings file cannot be used.
    pub fn read<I>(args: I) -> Result<Self, SettingsError>
    where
        I: IntoIterator<Item = OsString> + Clone,
    {
        let matches = settings::matches(Self::command(), in_full(args))?;
        Ok(Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()))
    }
}

/// `piccolo-server explain` is short for `piccolo-server topology explain`, and so are its like.
fn in_full(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<_> = args.into_iter().collect();
    let command = args.get(1).and_then(|word| word.to_str());
    if let Some("locate" | "explain" | "matrix" | "suggest") = command {
        args.insert(1, "topology".into());
    }
    args
}

impl Data {
    /// The databases to open: those that were named, or the SQLite file.
    pub fn databases(&self) -> Vec<GroupDatabase> {
        let named = self
            .database_file
            .as_ref()
            .map_or(&*self.database, DatabaseFile::databases);
        if named.is_empty() {
            let file = self.state_dir.join("piccolo.sqlite");
            return vec![GroupDatabase {
                group: None,
                address: Address::Sqlite(file),
            }];
        }
        named.to_vec()
    }

    /// The read replicas that were named.
    pub fn replicas(&self) -> &[GroupDatabase] {
        self.replica_file
            .as_ref()
            .map_or(&self.replica, DatabaseFile::databases)
    }
}

#[cfg(test)]
mod tests;
