//! The programs that are compared with TLS between the nodes: another server and two more agents beside
//! those without, and nginx as server and as proxy.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use testbed::{Authority, Certificate, Host, Node, Process, Run};

use super::{
    nginx,
    start::{AgentPlan, start_agent, start_server, wait_until_shared},
    target::{Target, at},
};
use crate::bench::datapath::images::Made;

/// They run until this is dropped.
#[derive(Debug)]
pub(super) struct Secured {
    pub(super) peer: Process,
    pub(super) mirror: Process,
    pub(super) files: Process,
    pub(super) proxy: Process,
    _server: Process,
}

/// Where they run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) run: &'a Run,
    pub(super) programs: &'a Path,
    pub(super) finder: &'a Host,
    pub(super) holder: &'a Node,
    pub(super) reader: &'a Node,
}

/// Their group: an agent with TLS takes nothing from one without.
const GROUP: &str = "secured";

impl Secured {
    pub(super) fn start(place: Place<'_>, made: &[Made]) -> Result<Self> {
        let Place {
            run,
            programs,
            finder,
            holder,
            reader,
        } = place;
        let authority = Authority::new(run)?;
        let uri = "spiffe://bench/piccolo/server/s";
        let own = authority.identify("finder", uri, &[finder.address])?;
        let flags = flags(&authority, &own, "permissive");
        let server = start_server(run, finder, programs, &flags)?;
        let agent = |node: &Node| {
            let host = &node.host;
            let uri = format!("spiffe://bench/piccolo/agent/{GROUP}/{}", host.name);
            let own = authority.identify(&host.name, &uri, &[host.address])?;
            let plan = AgentPlan {
                name: "secured",
                group: GROUP,
                scheme: "https",
                ports: [8786, 8787, 8788],
                more: self::flags(&authority, &own, "required"),
            };
            start_agent(run, node, finder, programs, &plan)
        };
        let peer = agent(holder)?;
        wait_until_shared(finder, GROUP, made)?;
        let mirror = agent(reader)?;
        let blobs = holder.containerd.content().join("blobs");
        let own = authority.certify(&holder.host.address.to_string(), &[])?;
        let from: SocketAddr = at(&holder.host, Target::NginxTls);
        let listen = at(&reader.host, Target::ProxyTls);
        Ok(Self {
            peer,
            mirror,
            files: nginx::files(run, &holder.host, from, &blobs, Some(&own))?,
            proxy: nginx::proxy(
                run,
                &reader.host,
                listen,
                from,
                Some(&authority.certificate()),
            )?,
            _server: server,
        })
    }

    pub(super) fn process(&self, target: Target) -> Result<&Process> {
        match target {
            Target::PeerTls => Ok(&self.peer),
            Target::MirrorTls => Ok(&self.mirror),
            Target::NginxTls => Ok(&self.files),
            Target::ProxyTls => Ok(&self.proxy),
            _ => Err(anyhow::anyhow!("{} has no TLS", target.name())),
        }
        .context("looking for a program")
    }
}

fn flags(authority: &Authority, own: &Certificate, mode: &str) -> Vec<String> {
    let files = authority.flags(own);
    files.into_iter().chain([format!("--tls={mode}")]).collect()
}
