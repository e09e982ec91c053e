//! The certificates of a bed's server and nodes.

use std::{net::IpAddr, process::Command, time::Duration};

use crate::{
    authority::{Authority, Subject},
    bed::{Bed, Node},
    binaries::binary,
    https::Https,
    network::Host,
};
use anyhow::{Context as _, Result, ensure};

/// An authority, and the flags by which the server and each node show what it certifies.
#[derive(Debug)]
pub struct Certified {
    /// The bed's own; `None` where the server's commands have issued the certificates.
    authority: Option<Authority>,
    server: Vec<String>,
    nodes: Vec<Vec<String>>,
}

impl Certified {
    /// Certifies the server and all nodes.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn of(bed: &Bed) -> Result<Self> {
        let authority = Authority::new(bed.run())?;
        let address = [bed.server_address()];
        let own = authority.identify("server", "spiffe://bed/piccolo/server/s", &address)?;
        let server = authority.flags(&own).to_vec();
        let node = |node: &Node| {
            let (host, uri) = (&node.host, uri(&node.host));
            let own = authority.identify(&host.name, &uri, &[host.address])?;
            anyhow::Ok(authority.flags(&own).to_vec())
        };
        let nodes = bed.nodes.iter().map(node).collect::<Result<_>>()?;
        Ok(Self {
            authority: Some(authority),
            server,
            nodes,
        })
    }

    /// The same with certificates that `piccolo-server pki` issues.
    ///
    /// # Errors
    /// When it does not.
    pub fn by_pki(bed: &Bed) -> Result<Self> {
        let directory = bed.run().make_directory("pki")?;
        let pki = |command: &str, more: &[String]| {
            let directory = format!("--directory={}", directory.display());
            let mut program = Command::new(binary("piccolo-server")?);
            let output = program
                .args(["pki", command, &directory])
                .args(more)
                .output()?;
            ensure!(
                output.status.success(),
                "pki {command} {more:?}: {output:?}"
            );
            anyhow::Ok(())
        };
        let issue = |role: &str, name: &str, group: Option<&str>, address: IpAddr| {
            let mut more = vec![
                format!("--role={role}"),
                format!("--node={name}"),
                format!("--address={address}"),
            ];
            more.extend(group.map(|group| format!("--group={group}")));
            pki("issue", &more)?;
            let files = directory.join(format!("{role}-{name}"));
            let flag =
                |name: &str, file: &str| format!("--tls-{name}={}", files.join(file).display());
            anyhow::Ok(vec![
                flag("cert", "tls.crt"),
                flag("key", "tls.key"),
                flag("ca", "ca.crt"),
            ])
        };
        pki("init", &[])?;
        let node = |node: &Node| {
            let host = &node.host;
            issue("agent", &host.name, Some(Bed::group()), host.address)
        };
        Ok(Self {
            authority: None,
            server: issue("server", "s", None, bed.server_address())?,
            nodes: bed.nodes.iter().map(node).collect::<Result<_>>()?,
        })
    }

    /// A client that shows a certificate with this URI name, or none.
    ///
    /// # Errors
    /// When a file cannot be written, or the authority is not the bed's own.
    pub fn client(&self, uri: Option<&str>) -> Result<Https> {
        let authority = self.authority.as_ref();
        let authority = authority.context("the authority is not the bed's own")?;
        let own = uri.map(|uri| authority.identify("client", uri, &[]));
        Https::new(authority, own.transpose()?.as_ref())
    }

    /// Exchanges the certificate of a node for one that lasts so long.
    ///
    /// # Errors
    /// When a file cannot be written, or the authority is not the bed's own.
    pub fn renew(&self, host: &Host, lasts: Duration) -> Result<()> {
        let subject = Subject {
            file: &host.name,
            host: None,
            uri: Some(&uri(host)),
            addresses: &[host.address],
            lasts,
        };
        let authority = self.authority.as_ref();
        let authority = authority.context("the authority is not the bed's own")?;
        authority.issue(&subject).map(drop)
    }

    /// Starts the server, in place of the one that runs, with TLS and `more`.
    ///
    /// # Errors
    /// When it does not stop, or not start.
    pub fn server(&self, bed: &mut Bed, mode: &str, more: &[&str]) -> Result<()> {
        if let Some(server) = bed.server.take() {
            server.stop()?;
        }
        let mode = format!("--tls={mode}");
        bed.start_server(&[&with(&self.server, &mode)[..], more].concat())
    }

    /// Starts the agents one by one, in place of those that run, with TLS and `more`.
    ///
    /// # Errors
    /// When one does not stop, or not start.
    pub fn agents(&self, bed: &mut Bed, mode: &str, more: &[&str]) -> Result<()> {
        (0..self.nodes.len()).try_for_each(|number| self.agent(bed, number, mode, more))
    }

    /// Starts one of them.
    ///
    /// # Errors
    /// When it does not stop, or not start.
    pub fn agent(&self, bed: &mut Bed, number: usize, mode: &str, more: &[&str]) -> Result<()> {
        let node = bed.nodes.get_mut(number).context("no such node")?;
        if let Some(agent) = node.agent.take() {
            agent.stop()?;
        }
        let mode = format!("--tls={mode}");
        let flags = self.nodes.get(number).context("no such node")?;
        bed.start_agent(number, &[&with(flags, &mode)[..], more].concat())?;
        let node = bed.nodes.get_mut(number).context("no such node")?;
        node.agent.as_mut().context("no agent")?.wait_ready()
    }
}

fn uri(host: &Host) -> String {
    format!("spiffe://bed/piccolo/agent/{}/{}", Bed::group(), host.name)
}

fn with<'a>(flags: &'a [String], mode: &'a str) -> Vec<&'a str> {
    flags.iter().map(String::as_str).chain([mode]).collect()
}
