//! What the command line, the environment and the settings file say: the one place that reads them.

mod hosts;
mod modes;
mod nodes;
mod ports;
mod sharing;
mod swarm;
mod verifying;

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use daemon::settings::{self, SettingsError};
use piccolo_api::Group;

use crate::{
    containerd::{Namespace, NamespaceError},
    ebpf::Choice,
    policy::Pattern,
    registry::{RegistryUrl, names_host},
};

pub use self::{
    hosts::{Hosts, HostsMode},
    modes::{SwarmMode, VerifyMode},
    nodes::Nodes,
    ports::SamePort,
    sharing::{Sharing, UnresolvedTags},
    swarm::Swarm,
    verifying::Verifying,
};

/// Where containerd keeps its content unless it is told otherwise.
pub const DEFAULT_CONTENT_PATH: &str = "/var/lib/containerd/io.containerd.content.v1.content";

/// The node agent of Piccolo: containerd's first mirror, fed by the neighbours.
#[derive(Debug, Parser)]
#[command(name = "pi-agent", version = daemon::VERSION, subcommand_negates_reqs = true)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `run` where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of `run`.
    #[command(flatten)]
    pub run: Run,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the agent (the default).
    Run(Box<Run>),
    /// Writes containerd's mirror files, so that it asks the agent first.
    Configure(Configure),
    /// Keeps the agent in containerd's mirror files while its mirror answers, and takes it out at the
    /// end: for a pod, whose agent may be started again without the pod.
    KeepHosts(KeepHosts),
    /// Shows what a running agent has and does.
    Status(Query),
    /// Shows the peers of a running agent and their rates.
    Peers(Peers),
    /// Checks this node and says how to mend what is wrong.
    Doctor(Doctor),
    /// Prints the reference of all metrics as Markdown.
    #[command(hide = true)]
    MetricsDoc,
    /// Prints the reference of all settings as Markdown.
    #[command(hide = true)]
    SettingsDoc,
}

daemon::process_settings!("PI_AGENT");
daemon::tls_settings!("PI_AGENT");

/// The settings of a running agent.
#[derive(Debug, Clone, Args)]
pub struct Run {
    #[command(flatten)]
    pub process: Process,
    #[command(flatten)]
    pub servers: Servers,
    #[command(flatten)]
    pub nodes: Nodes,
    #[command(flatten)]
    pub tls: TlsSettings,
    #[command(flatten)]
    pub issuer: IssuerSettings,
    /// The address at which peers reach this node; found from the routing table where it is
    /// not given.
    #[arg(long, env = "PI_AGENT_ADVERTISE_ADDRESS", value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    /// Where containerd asks. Below port 1024 no process without the capability `NET_BIND_SERVICE` can take its
    /// place while it is away, and be sent registries' passwords.
    #[arg(
        long,
        env = "PI_AGENT_MIRROR_LISTEN",
        value_name = "ADDR",
        default_value = hosts::MIRROR_LISTEN
    )]
    pub mirror_listen: SocketAddr,
    /// Seconds for which the mirror listens at port 7788, too, after no mirror file names it any more that an
    /// older release wrote; 0: not at all.
    #[arg(
        long,
        env = "PI_AGENT_FORMER_PORT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 600
    )]
    pub former_port_seconds: u64,
    /// Where peers ask.
    #[arg(
        long,
        env = "PI_AGENT_PEER_LISTEN",
        value_name = "ADDR",
        default_value = "[::]:7787"
    )]
    pub peer_listen: SocketAddr,
    /// Where probes, Prometheus and `pi-agent status` ask.
    #[arg(
        long,
        env = "PI_AGENT_ADMIN_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7786"
    )]
    pub admin_listen: SocketAddr,
    /// A file with a token: other hosts that send it as a bearer token may read metrics and status where
    /// --admin-listen is open to them; without a certificate nobody else may then.
    #[arg(long, env = "PI_AGENT_OPERATOR_TOKEN_FILE", value_name = "FILE")]
    pub operator_token_file: Option<PathBuf>,
    #[command(flatten)]
    pub containerd: ContainerdArgs,
    /// What is done about containerd's mirror files while the agent runs.
    #[arg(
        long = "hosts",
        env = "PI_AGENT_HOSTS",
        value_name = "MODE",
        default_value = "off"
    )]
    pub hosts_mode: HostsMode,
    #[command(flatten)]
    pub hosts: Hosts,
    /// How the bytes of each peer are counted.
    #[arg(
        long,
        env = "PI_AGENT_ACCOUNTING",
        value_name = "MODE",
        default_value = "auto"
    )]
    pub accounting: Choice,
    #[command(flatten)]
    pub verifying: Verifying,
    /// Bytes per second below which a peer's reply is given up for the next peer, or for the
    /// registry, and an upload to a peer is ended; at 0 only what stands still.
    #[arg(
        long,
        env = "PI_AGENT_RATE_FLOOR",
        value_name = "BYTES",
        default_value_t = crate::datapath::RATE_FLOOR
    )]
    pub rate_floor: u64,
    #[command(flatten)]
    pub swarm: Swarm,
    #[command(flatten)]
    pub tags: Tags,
    #[command(flatten)]
    pub serving: Serving,
    /// Seconds that uploads in flight get when the agent is asked to end.
    #[arg(
        long,
        env = "PI_AGENT_DRAIN",
        value_name = "SECONDS",
        default_value_t = 30
    )]
    pub drain: u64,
    #[command(flatten)]
    pub systemd: Systemd,
}

/// What systemd tells a service; nothing that a person sets.
#[derive(Debug, Clone, Args)]
pub struct Systemd {
    #[arg(long, env = "NOTIFY_SOCKET", hide = true)]
    pub notify_socket: Option<OsString>,
    #[arg(long, env = "WATCHDOG_USEC", hide = true)]
    pub watchdog_usec: Option<u64>,
}

/// Where the discovery server is.
#[derive(Debug, Clone, Args)]
pub struct Servers {
    /// Base URLs of the discovery server's instances, tried in this order.
    #[arg(
        long,
        env = "PI_AGENT_SERVER",
        value_name = "URL,URL",
        value_delimiter = ','
    )]
    #[arg(value_parser = server_url)]
    pub server: Vec<String>,
}

/// Where containerd is.
#[derive(Debug, Clone, Args)]
pub struct ContainerdArgs {
    /// containerd's gRPC socket.
    #[arg(long, env = "PI_AGENT_CONTAINERD_SOCKET", value_name = "PATH")]
    #[arg(default_value = "/run/containerd/containerd.sock")]
    pub containerd_socket: PathBuf,
    /// The namespaces whose images are shared.
    #[arg(
        long,
        env = "PI_AGENT_CONTAINERD_NAMESPACE",
        value_name = "NAME",
        value_delimiter = ','
    )]
    #[arg(default_value = "k8s.io", value_parser = namespace)]
    pub containerd_namespace: Vec<String>,
    /// containerd's content store: the directory that holds `blobs` and `ingest`.
    #[arg(long, env = "PI_AGENT_CONTENT_PATH", value_name = "PATH")]
    #[arg(default_value = DEFAULT_CONTENT_PATH)]
    pub content_path: PathBuf,
}

/// What is done with tags, and which repositories are shared.
#[derive(Debug, Clone, Args)]
pub struct Tags {
    /// Advertises and answers tags too, not only digests. A tag can be stale for as long as all that
    /// containerd would ask for it are away.
    #[arg(long, env = "PI_AGENT_RESOLVE_TAGS")]
    pub resolve_tags: bool,
    #[command(flatten)]
    pub sharing: Sharing,
    /// Seconds for which a tag is answered without asking its registry again.
    #[arg(
        long,
        env = "PI_AGENT_TAG_TTL",
        value_name = "SECONDS",
        default_value_t = 60
    )]
    pub tag_ttl: u64,
    /// Where the agent asks a registry for its tags, other than its name or `hosts.toml` say
    /// (`registry=URL`). While nobody answers there the registry counts as away. One that wants credentials
    /// is left to containerd to ask.
    #[arg(
        long,
        env = "PI_AGENT_REGISTRY_URL",
        value_name = "REGISTRY=URL",
        value_delimiter = ','
    )]
    pub registry_url: Vec<RegistryUrl>,
    /// A PEM file of authorities that are trusted besides this machine's own when a registry is asked
    /// for its tags over HTTPS. Read at the start; without it the agent goes on, and leaves the tags of
    /// registries that it cannot trust to containerd.
    #[arg(long, env = "PI_AGENT_REGISTRY_CA", value_name = "FILE")]
    pub registry_ca: Option<PathBuf>,
    /// Shares only these registries or repositories (`registry`, `registry/repository`, `*` for
    /// any characters). Nothing given: all.
    #[arg(
        long,
        env = "PI_AGENT_ALLOW",
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    pub allow: Vec<Pattern>,
    /// Never shares these, even where they are allowed.
    #[arg(
        long,
        env = "PI_AGENT_DENY",
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    pub deny: Vec<Pattern>,
}

/// Bounds of what peers may take.
#[derive(Debug, Clone, Args)]
pub struct Serving {
    /// Uploads to peers at once; more wait shortly, then hear "busy".
    #[arg(
        long,
        env = "PI_AGENT_UPLOAD_SLOTS",
        value_name = "N",
        default_value_t = crate::peer::UPLOAD_SLOTS
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub upload_slots: u32,
    /// Bytes per second that all uploads share fairly; 0 is no limit.
    #[arg(
        long,
        env = "PI_AGENT_UPLOAD_RATE",
        value_name = "BYTES",
        default_value_t = 0
    )]
    pub upload_rate: u64,
}

/// The settings of `configure`.
#[derive(Debug, Clone, Args)]
pub struct Configure {
    #[command(flatten)]
    pub hosts: Hosts,
    /// Lets containerd resolve tags at the agent too (for agents with `--resolve-tags`).
    #[arg(long, env = "PI_AGENT_RESOLVE_TAGS")]
    pub resolve_tags: bool,
    /// Takes the agent out again and restores each file as it was.
    #[arg(long)]
    pub remove: bool,
    /// containerd's gRPC socket: its release decides which files it reads.
    #[arg(long, env = "PI_AGENT_CONTAINERD_SOCKET", value_name = "PATH")]
    #[arg(default_value = "/run/containerd/containerd.sock")]
    pub containerd_socket: PathBuf,
    /// Writes nothing, and says what would be written or why nothing can be.
    #[arg(long, conflicts_with_all = ["remove", "force"])]
    pub check: bool,
    /// Writes the files although containerd's configuration does not lead to them or cannot be
    /// read, or another program answers where the mirror should.
    #[arg(long)]
    pub force: bool,
}

/// The settings of `keep-hosts`.
#[derive(Debug, Clone, Args)]
pub struct KeepHosts {
    #[command(flatten)]
    pub process: Process,
    #[command(flatten)]
    pub hosts: Hosts,
    /// containerd's gRPC socket: its release decides which files it reads.
    #[arg(long, env = "PI_AGENT_CONTAINERD_SOCKET", value_name = "PATH")]
    #[arg(default_value = "/run/containerd/containerd.sock")]
    pub containerd_socket: PathBuf,
    /// Lets containerd resolve tags at the agent too (for agents with `--resolve-tags`).
    #[arg(long, env = "PI_AGENT_RESOLVE_TAGS")]
    pub resolve_tags: bool,
    /// Ends an agent that does not answer for eight seconds, if its process is seen from here.
    #[arg(long)]
    pub end_silent_agent: bool,
}

/// Where a running agent is asked.
#[derive(Debug, Clone, Args)]
pub struct Query {
    /// The agent's admin address.
    #[arg(
        long,
        env = "PI_AGENT_ADMIN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7786"
    )]
    pub admin: SocketAddr,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// The settings of `peers`.
#[derive(Debug, Clone, Args)]
pub struct Peers {
    #[command(flatten)]
    pub query: Query,
    /// Prints once and ends, instead of renewing the table every second.
    #[arg(long)]
    pub once: bool,
}

/// Where the agent's settings are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Manager {
    /// On the node: flags, environment, settings file.
    Host,
    /// In the values of the Helm chart.
    Chart,
}

/// The settings of `doctor`.
#[derive(Debug, Clone, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub query: Query,
    #[command(flatten)]
    pub containerd: ContainerdArgs,
    #[command(flatten)]
    pub servers: Servers,
    #[command(flatten)]
    pub tls: TlsSettings,
    /// The directory that containerd's `config_path` names.
    #[arg(
        long,
        env = "PI_AGENT_HOSTS_DIR",
        value_name = "DIR",
        default_value = "/etc/containerd/certs.d"
    )]
    pub hosts_dir: PathBuf,
    /// containerd's own configuration.
    #[arg(
        long,
        env = "PI_AGENT_CONTAINERD_CONFIG",
        value_name = "FILE",
        default_value = "/etc/containerd/config.toml"
    )]
    pub containerd_config: PathBuf,
    /// Where containerd reaches the agent's mirror.
    #[arg(
        long,
        env = "PI_AGENT_MIRROR_URL",
        value_name = "URL",
        default_value = hosts::MIRROR_URL
    )]
    #[arg(value_parser = hosts::mirror_url)]
    pub mirror_url: String,
    /// How the bytes of each peer are to be counted, for when no agent runs that could tell.
    #[arg(
        long,
        env = "PI_AGENT_ACCOUNTING",
        value_name = "MODE",
        default_value = "auto"
    )]
    pub accounting: Choice,
    /// Where settings are changed, so that the advice is of use there.
    #[arg(
        long,
        env = "PI_AGENT_MANAGED_BY",
        value_name = "WHO",
        default_value = "host"
    )]
    pub managed_by: Manager,
}

/// Reads the command line `args`, over the environment, over the settings file.
///
/// # Errors
/// When the settings file cannot be used. Errors of the command line itself are printed and end
/// the process, as do help and version.
pub fn read<I>(args: I) -> Result<Cli, SettingsError>
where
    I: IntoIterator<Item = OsString> + Clone,
{
    let matches = settings::matches(Cli::command(), args)?;
    Ok(Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()))
}

/// Not everything that the wire takes: a group also stands before the `=` of the server's
/// `--database`, where blanks separate.
fn group(text: &str) -> Result<Group, String> {
    let is_fit = |b: u8| b.is_ascii_graphic() && b != b'=';
    if !text.bytes().all(is_fit) {
        return Err(
            "a group's name has neither blanks nor =, and no letters but ASCII's".to_owned(),
        );
    }
    text.parse()
        .map_err(|error: piccolo_api::NameError| error.to_string())
}

fn namespace(text: &str) -> Result<String, NamespaceError> {
    Namespace::new(text).map(|_| text.to_owned())
}

fn server_url(text: &str) -> Result<String, String> {
    let uri: http::Uri = text
        .parse()
        .map_err(|error| format!("{error}; a URL looks like http://10.0.0.1:7789"))?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if !is_http || uri.query().is_some() || !names_host(&uri) {
        return Err("a URL looks like http://10.0.0.1:7789".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}
