//! How the agent calls servers and other agents, and who it shows itself as.

use std::time::Duration;

use anyhow::Result;
use daemon::{
    client::JsonClient,
    clock::Clock,
    scope::Scope,
    tls::{self, Mode, Role, Tls},
};
use piccolo_api::Holder;

use crate::config::Run;

/// Connect timeout.
const DIAL: Duration = Duration::from_millis(300);
/// Connections that are kept to each instance.
const IDLE: usize = 4;

/// How this agent speaks TLS.
///
/// # Errors
/// When its certificate is another node's, or cannot be used.
pub(super) fn certified(settings: &Run, holder: Holder, clock: &Clock) -> Result<Tls> {
    let tls = settings.tls.load(&[Role::Agent], clock)?;
    let mut servers = settings.servers.server.iter();
    if let (Mode::Off, Some(server)) = (tls.mode(), servers.find(|url| url.starts_with("https:"))) {
        anyhow::bail!("--server {server} is to be reached by https, for which --tls has to be on");
    }
    if let Some(own) = tls.own() {
        let identity = &own.identity;
        anyhow::ensure!(
            own.has(holder.ip()),
            "the certificate of {identity} is for {:?}, and this node advertises {} \
             (--advertise-address)",
            own.addresses,
            holder.ip()
        );
        anyhow::ensure!(
            identity.group == settings.nodes.group.as_str(),
            "the certificate is one of {identity}, and this node is in group {} (--group)",
            settings.nodes.group
        );
    }
    Ok(tls)
}

/// How other programs are called.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) servers: JsonClient,
    /// Other agents.
    pub(super) mates: JsonClient,
    /// Who this agent shows itself as.
    pub(super) tls: Tls,
}

impl Clients {
    /// Follows this agent's certificate, too.
    pub(super) fn new(tls: Tls, group: &str, scope: &Scope) -> Self {
        let following = tls.clone().follow(scope.clone());
        scope.service("certificates", following);
        let mate = tls::Peer {
            tls: tls.clone(),
            role: Some(Role::Agent),
            group: Some(group.to_owned()),
        };
        let role = Some(Role::Server);
        Self {
            servers: JsonClient::of(
                tls::Peer {
                    tls: tls.clone(),
                    role,
                    group: None,
                },
                DIAL,
                IDLE,
            ),
            mates: JsonClient::of(mate, DIAL, IDLE),
            tls,
        }
    }

    /// Uses none of their connections any more.
    pub(super) fn renew(&self) {
        self.servers.renew();
        self.mates.renew();
    }
}
