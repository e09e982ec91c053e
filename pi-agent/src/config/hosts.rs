//! The settings of containerd's mirror files, which several commands have.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{
    hosts::{Capabilities, block::Mirror, entries::Entries},
    keeper::Duty,
    registry::RegistryName,
};

/// Where the mirror listens. Only with `NET_BIND_SERVICE` is a port below 1024 taken; 288 is assigned to nobody,
/// and lies below those from 600 on that clients of NFS and RPC call from.
pub(super) const MIRROR_LISTEN: &str = "127.0.0.1:288";
/// The same for containerd.
pub(super) const MIRROR_URL: &str = "http://127.0.0.1:288";

/// Which files name the agent, and under which address.
#[derive(Debug, Clone, Args)]
pub struct Hosts {
    /// The directory that containerd's `config_path` names.
    #[arg(
        long,
        env = "PI_AGENT_HOSTS_DIR",
        value_name = "DIR",
        default_value = "/etc/containerd/certs.d"
    )]
    pub hosts_dir: PathBuf,
    /// The registries that are mirrored; `_default` stands for all that have no file of their own.
    #[arg(
        long,
        env = "PI_AGENT_REGISTRY",
        value_name = "HOST,HOST",
        value_delimiter = ','
    )]
    #[arg(default_value = "_default")]
    pub registry: Vec<RegistryName>,
    /// Where containerd reaches the agent's mirror.
    #[arg(
        long,
        env = "PI_AGENT_MIRROR_URL",
        value_name = "URL",
        default_value = MIRROR_URL
    )]
    #[arg(value_parser = mirror_url)]
    pub mirror_url: String,
    /// containerd's own configuration, in which `config_path` has to name the directory.
    #[arg(
        long,
        env = "PI_AGENT_CONTAINERD_CONFIG",
        value_name = "FILE",
        default_value = "/etc/containerd/config.toml"
    )]
    pub containerd_config: PathBuf,
}

/// What a running agent does about the mirror files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HostsMode {
    /// Nothing: they are yours to write, or `pi-agent configure` writes them.
    Off,
    /// Says whether containerd asks the agent first; `pi-agent keep-hosts` writes.
    Watch,
    /// Writes them when the mirror answers, keeps them, and takes the agent out when it ends.
    Write,
}

impl Hosts {
    /// The entries that these settings ask for, for a containerd of a release that is not known.
    pub fn entries(&self, capabilities: Capabilities) -> Entries {
        Entries {
            hosts_dir: self.hosts_dir.clone(),
            containerd_config: self.containerd_config.clone(),
            release: None,
            registries: self.registry.clone(),
            mirror: Mirror {
                url: self.mirror_url.clone(),
                capabilities,
            },
        }
    }
}

impl From<HostsMode> for Duty {
    fn from(mode: HostsMode) -> Self {
        match mode {
            HostsMode::Off => Self::Off,
            HostsMode::Watch => Self::Watch,
            HostsMode::Write => Self::Write,
        }
    }
}

/// As containerd 1.6 and 1.7 can read it: for them the name of a table ends at the first bracket, and a
/// file that they cannot read counts for nothing, with all that it says of the registry.
pub(super) fn mirror_url(text: &str) -> Result<String, String> {
    let url = super::server_url(text)?;
    if url.contains('[') {
        return Err(
            "containerd 1.6 and 1.7 cannot read an IPv6 address in hosts.toml: have the \
                    mirror listen at 127.0.0.1, and name that"
                .to_owned(),
        );
    }
    Ok(url)
}
