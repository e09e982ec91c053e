//! The settings of the authority that runs in Kubernetes.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::Args;
use daemon::cidr::Cidr;
use piccolo_api::{Group, NameError};

use super::{Process, duration};

/// Flags of `pki serve`.
#[derive(Debug, Clone, Args)]
pub struct PkiServe {
    /// Log and settings file.
    #[command(flatten)]
    pub process: Process,
    /// Where pods call, over TLS.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_LISTEN",
        value_name = "ADDR",
        default_value = "[::]:7791"
    )]
    pub listen: SocketAddr,
    /// Where probes and Prometheus call.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_ADMIN_LISTEN",
        value_name = "ADDR",
        default_value = "[::]:7792"
    )]
    pub admin_listen: SocketAddr,
    /// A host name by which pods call it; once for each.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_HOST",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub host: Vec<String>,
    /// An address by which pods call it; once for each.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_ADDRESS",
        value_name = "IP",
        value_delimiter = ','
    )]
    pub address: Vec<IpAddr>,
    /// Where it keeps the certificate that it shows to pods. Nothing is lost with it.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_STATE_DIR",
        value_name = "DIR",
        default_value = "/run/piccolo-signer"
    )]
    pub state_dir: PathBuf,
    /// Where the authority is, as `ca.crt` and `ca.key`; read again when they change.
    #[arg(long, env = "PICCOLO_SIGNER_DIRECTORY", value_name = "DIR")]
    #[arg(required_unless_present = "secret", conflicts_with = "secret")]
    pub directory: Option<PathBuf>,
    /// The Secret that keeps the authority in `ca.crt` and `ca.key`. An empty one is given a new authority; it
    /// has to be there.
    #[arg(long, env = "PICCOLO_SIGNER_SECRET", value_name = "NAMESPACE/NAME")]
    pub secret: Option<ObjectName>,
    /// The ConfigMap whose `ca.crt` tells pods whom to trust. The authority is added there if it is missing.
    #[arg(long, env = "PICCOLO_SIGNER_CONFIG_MAP", value_name = "NAMESPACE/NAME")]
    pub config_map: Option<ObjectName>,
    /// The service account of the agents of a group; once for each.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_AGENTS",
        value_name = "GROUP=NAMESPACE/ACCOUNT",
        value_delimiter = ','
    )]
    pub agents: Vec<AgentAccount>,
    /// A service account of servers; once for each.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_SERVERS",
        value_name = "NAMESPACE/ACCOUNT",
        value_delimiter = ','
    )]
    pub servers: Vec<Account>,
    /// A host name by which agents call servers; once for each.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_SERVER_HOST",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub server_host: Vec<String>,
    /// Where nodes are: no other address is certified for an agent.
    #[arg(
        long,
        env = "PICCOLO_NODE_CIDRS",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub node_cidrs: Vec<Cidr>,
    /// The audience that tokens have to be for.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_AUDIENCE",
        value_name = "NAME",
        default_value = "piccolo"
    )]
    pub audience: String,
    /// How long certificates count; they are renewed after two thirds of that.
    #[arg(long, env = "PICCOLO_SIGNER_LASTS", value_name = "TIME", default_value = "24h", value_parser = lasts)]
    pub lasts: Duration,
    /// Calls that an address may make in a second, of which it may save up those of ten seconds. Agents behind address
    /// translation share one.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_CALLS_PER_ADDRESS",
        value_name = "NUMBER",
        default_value = "20",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub calls_per_address: u32,
    /// The trust domain in the URI names; any will do.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_DOMAIN",
        value_name = "NAME",
        default_value = "piccolo"
    )]
    pub domain: String,
    /// The API of Kubernetes.
    #[arg(
        long,
        env = "PICCOLO_SIGNER_API",
        value_name = "URL",
        default_value = "https://kubernetes.default.svc"
    )]
    #[arg(value_parser = daemon::tls::issuer_url)]
    pub api: String,
    /// The token for that API.
    #[arg(long, env = "PICCOLO_SIGNER_API_TOKEN", value_name = "FILE")]
    #[arg(default_value = "/var/run/secrets/kubernetes.io/serviceaccount/token")]
    pub api_token: PathBuf,
    /// The authorities of that API.
    #[arg(long, env = "PICCOLO_SIGNER_API_CA", value_name = "FILE")]
    #[arg(default_value = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")]
    pub api_ca: PathBuf,
    /// A file with a token: who sends it as a bearer token may read the metrics; without it everybody may.
    #[arg(long, env = "PICCOLO_OPERATOR_TOKEN_FILE", value_name = "FILE")]
    pub operator_token_file: Option<PathBuf>,
}

/// An object in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

/// A service account.
pub type Account = ObjectName;

/// The service account of the agents of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentAccount {
    /// The group.
    pub group: Group,
    /// The account.
    pub account: Account,
}

/// Why a text names no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectNameError {
    /// It has another form.
    #[error("it is no NAMESPACE/NAME")]
    Form,
    /// There is no group before it.
    #[error("it is no GROUP=NAMESPACE/NAME")]
    NoGroup,
    /// The group's name is none.
    #[error("the group before the = is none")]
    Group(#[source] NameError),
}

impl FromStr for ObjectName {
    type Err = ObjectNameError;

    fn from_str(text: &str) -> Result<Self, ObjectNameError> {
        // What these names may have in them, and nothing that means more in a URL.
        let is_name = |name: &&str| {
            let is_known =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            (1..=253).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_known)
        };
        let (namespace, name) = text.split_once('/').ok_or(ObjectNameError::Form)?;
        if !is_name(&namespace) || !is_name(&name) {
            return Err(ObjectNameError::Form);
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for AgentAccount {
    type Err = ObjectNameError;

    fn from_str(text: &str) -> Result<Self, ObjectNameError> {
        // A group may have a / in its name.
        let (group, account) = text.split_once('=').ok_or(ObjectNameError::NoGroup)?;
        Ok(Self {
            group: group.parse().map_err(ObjectNameError::Group)?,
            account: account.parse()?,
        })
    }
}

fn lasts(text: &str) -> Result<Duration, String> {
    let lasts = duration::parse(text).map_err(|error| error.to_string())?;
    let most = Duration::from_hours(90 * 24);
    if (Duration::from_secs(1)..=most).contains(&lasts) {
        Ok(lasts)
    } else {
        Err("certificates count from 1s to 2160h (90 days)".to_owned())
    }
}
