//! How the agent calls servers and other agents, and who it shows itself as.

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::Result;
use daemon::{
    client::JsonClient,
    clock::Clock,
    issuer::{self, Issuer},
    readiness::Readiness,
    scope::Scope,
    tls::{self, Leaf, Mode, Role, Tls},
};
use piccolo_api::Holder;

use super::Outside;
use crate::{config::Run, here::Here};

/// Connect timeout.
const DIAL: Duration = Duration::from_millis(300);
/// Connections that are kept to each instance.
const IDLE: usize = 4;

/// How this agent speaks TLS.
///
/// # Errors
/// When its certificate is another node's, or cannot be used.
pub(super) fn certified(settings: &Run, holder: Holder, clock: &Clock) -> Result<Tls> {
    let tls = (settings.tls).load_or_wait(&settings.issuer, &[Role::Agent], clock)?;
    let mut servers = settings.servers.server.iter();
    if let (Mode::Off, Some(server)) = (tls.mode(), servers.find(|url| url.starts_with("https:"))) {
        anyhow::bail!("--server {server} is to be reached by https, for which --tls has to be on");
    }
    // One that does not fit is issued anew.
    if let (Some(own), None) = (tls.own(), &settings.issuer.tls_issuer) {
        let fits = fits(&own, Some(holder.ip()), settings.nodes.group.as_str());
        fits.map_err(anyhow::Error::msg)?;
    }
    Ok(tls)
}

/// Why a certificate is not this agent's, which advertises that address.
fn fits(own: &Leaf, address: Option<IpAddr>, group: &str) -> Result<(), String> {
    let identity = &own.identity;
    match address.filter(|ip| !own.has(*ip)) {
        Some(ip) => Err(format!(
            "the certificate of {identity} is for {:?}, and this node advertises {ip} \
             (--advertise-address)",
            own.addresses
        )),
        None if identity.group != group => Err(format!(
            "the certificate is one of {identity}, and this node is in group {group} (--group)"
        )),
        None => Ok(()),
    }
}

/// Has this agent's certificate issued, where the settings say so.
fn issue(outside: &Outside, (tls, here): (&Tls, &Here), readiness: &Readiness, scope: &Scope) {
    let settings = &outside.settings;
    let Some(url) = settings.issuer.tls_issuer.clone() else {
        return;
    };
    let (jitter, here) = (outside.jitter.clone(), here.clone());
    let group = settings.nodes.group.clone();
    let issuer = Issuer::new(issuer::Settings {
        url,
        token: settings.issuer.tls_issuer_token.clone(),
        tls: tls.clone(),
        readiness: readiness.clone(),
        clock: outside.clock.clone(),
        random: Box::new(move || jitter.next()),
        fits: Arc::new(move |own| {
            let address = here.get().map(|holder| holder.ip());
            fits(own, address, group.as_str())
        }),
    });
    if let Some(issuer) = issuer {
        scope.service("issuer", issuer.run(scope.clone()));
    }
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
    /// Follows this agent's certificate, too, and has it issued where the settings say so.
    pub(super) fn new(
        tls: Tls,
        (outside, here, readiness): (&Outside, &Here, &Readiness),
        scope: &Scope,
    ) -> Self {
        issue(outside, (&tls, here), readiness, scope);
        let group = outside.settings.nodes.group.as_str();
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
