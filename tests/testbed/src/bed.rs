//! The whole bed: network, registry, server, and nodes with containerd and agent.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::agent::{Agent, AgentSetup};
use crate::containerd::{Containerd, Release};
use crate::hosts::Hosts;
use crate::image::Image;
use crate::network::{Host, Network, Plan};
use crate::registry::Registry;
use crate::run::Run;
use crate::server::Server;
use crate::wait::wait_until;

/// The registry's name in image names. It resolves to nothing: only hosts.toml leads to it.
const REGISTRY_NAME: &str = "registry.test";
const GROUP: &str = "bed";
const SHARED: Duration = Duration::from_secs(30);

/// What a bed is made of.
#[derive(Clone, Debug)]
pub struct BedSetup {
    /// The network.
    pub plan: Plan,
    /// The containerd of every node.
    pub release: Release,
}

/// A bed. Dropping it removes it.
#[derive(Debug)]
pub struct Bed {
    // Processes go before the run that cleans up after them.
    /// The server, once started.
    pub server: Option<Server>,
    /// The nodes, rack by rack.
    pub nodes: Vec<Node>,
    /// The registry.
    pub registry: Registry,
    server_host: Host,
    server_urls: Vec<String>,
    database: Option<String>,
    network: Network,
    run: Run,
}

/// One node of a bed.
#[derive(Debug)]
pub struct Node {
    /// Its place in the network.
    pub host: Host,
    /// Its agent, once started.
    pub agent: Option<Agent>,
    /// Its containerd.
    pub containerd: Containerd,
}

impl Bed {
    /// Builds the network, starts the registry, and prepares the nodes without starting anything
    /// on them.
    ///
    /// # Errors
    ///
    /// When a part cannot be made.
    pub fn prepare(run: Run, setup: &BedSetup) -> Result<Self> {
        let mut network = Network::build(&run, &setup.plan).context("building the network")?;
        let registry_host = network.add_core_host("registry", setup.plan.registry)?;
        let server_host = network.add_core_host("server", None)?;
        let registry = Registry::start(&run, &registry_host).context("starting the registry")?;
        let mut nodes = Vec::new();
        for host in network.nodes() {
            let containerd = Containerd::prepare(&run, host, setup.release)
                .with_context(|| format!("preparing {}", host.name))?;
            nodes.push(Node {
                host: host.clone(),
                agent: None,
                containerd,
            });
        }
        Ok(Self {
            server: None,
            nodes,
            registry,
            server_urls: vec![Server::url_at(&server_host)],
            database: None,
            server_host,
            network,
            run,
        })
    }

    /// [`Bed::prepare`], and containerd started on every node.
    ///
    /// # Errors
    ///
    /// When a part cannot be made or does not start.
    pub fn start(run: Run, setup: &BedSetup) -> Result<Self> {
        let mut bed = Self::prepare(run, setup)?;
        for node in &mut bed.nodes {
            node.containerd.start()?;
        }
        Ok(bed)
    }

    /// Leaves the bed running after this program has ended.
    ///
    /// # Errors
    ///
    /// When the run cannot be kept.
    pub fn keep(self) -> Result<()> {
        self.run.keep()?;
        // Dropping the parts would end them.
        std::mem::forget(self);
        Ok(())
    }

    /// The run it belongs to.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The network, to add hosts to.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// The name under which nodes pull what was pushed as `name`.
    pub fn image_name(name: &str) -> String {
        format!("{REGISTRY_NAME}/{name}")
    }

    /// The group of the agents.
    pub fn group() -> &'static str {
        GROUP
    }

    /// Starts the server.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_server(&mut self, arguments: &[&str]) -> Result<()> {
        self.start_server_by(&[], arguments)
    }

    /// [`Bed::start_server`] with a program of another build, behind what it takes to run that.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_server_by(&mut self, command: &[PathBuf], arguments: &[&str]) -> Result<()> {
        let database = self.database.as_deref();
        let server = Server::start_by(&self.run, &self.server_host, database, command, arguments);
        self.server = Some(server.context("starting the server")?);
        Ok(())
    }

    /// Has the server keep its data in this database from its next start on, by its URL.
    pub fn use_database(&mut self, url: &str) {
        self.database = Some(url.to_owned());
    }

    /// Where the server is or would be reached.
    pub fn server_url(&self) -> String {
        Server::url_at(&self.server_host)
    }

    /// The server's address.
    pub fn server_address(&self) -> IpAddr {
        self.server_host.address
    }

    /// Has agents that start from now on report to these instead of the bed's own server.
    pub fn use_servers(&mut self, urls: &[String]) {
        self.server_urls = urls.to_vec();
    }

    /// Starts the agent of a node, in place of the one that runs there.
    ///
    /// # Errors
    ///
    /// When there is no such node, or the agent does not start.
    pub fn start_agent(&mut self, node: usize, arguments: &[&str]) -> Result<()> {
        self.start_agent_by(node, &[], arguments)
    }

    /// [`Bed::start_agent`] with a program of another build, behind what it takes to run that.
    ///
    /// # Errors
    ///
    /// When there is no such node, or the agent does not start.
    pub fn start_agent_by(
        &mut self,
        node: usize,
        command: &[PathBuf],
        arguments: &[&str],
    ) -> Result<()> {
        let setup = AgentSetup {
            command: command.to_vec(),
            ..self.agent_setup(arguments)
        };
        self.start_agent_as(node, &setup)
    }

    /// [`Bed::start_agent`] without a flag that follows from the node otherwise, as `--advertise-address`.
    ///
    /// # Errors
    ///
    /// When there is no such node, or the agent does not start.
    pub fn start_agent_without(
        &mut self,
        node: usize,
        flag: &str,
        arguments: &[&str],
    ) -> Result<()> {
        let setup = AgentSetup {
            without: vec![flag.to_owned()],
            ..self.agent_setup(arguments)
        };
        self.start_agent_as(node, &setup)
    }

    fn agent_setup(&self, arguments: &[&str]) -> AgentSetup {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        AgentSetup {
            servers: self.server_urls.clone(),
            group: GROUP.to_owned(),
            arguments: arguments.collect(),
            without: Vec::new(),
            command: Vec::new(),
        }
    }

    fn start_agent_as(&mut self, node: usize, setup: &AgentSetup) -> Result<()> {
        let node = self.nodes.get_mut(node).context("no such node")?;
        // One after the other: they share their ports.
        node.agent = None;
        let agent = Agent::start(&self.run, &node.host, &node.containerd, setup);
        node.agent = Some(agent.with_context(|| format!("starting agent of {}", node.host.name))?);
        Ok(())
    }

    /// Starts the agents of all nodes and waits until they are ready.
    ///
    /// # Errors
    ///
    /// When one does not start.
    pub fn start_agents(&mut self, arguments: &[&str]) -> Result<()> {
        for node in 0..self.nodes.len() {
            self.start_agent(node, arguments)?;
        }
        for node in &mut self.nodes {
            node.agent.as_mut().map_or(Ok(()), Agent::wait_ready)?;
        }
        Ok(())
    }

    /// Waits until the server knows a holder of every part of an image that a node here needs: from
    /// then on a node can have all of it from its peers.
    ///
    /// # Errors
    ///
    /// When there is no server, or the time passes.
    pub fn wait_until_shared(&self, image: &Image) -> Result<()> {
        let server = self.server.as_ref().context("no server runs")?;
        wait_until("the server to know holders of the image", SHARED, || {
            for blob in image.native_blobs() {
                if server.holders(GROUP, &blob.digest)? == 0 {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    /// Tells every containerd where to look for images, first choice first.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn set_hosts(&self, urls: &[String]) -> Result<()> {
        let hosts = Hosts {
            registry: REGISTRY_NAME.to_owned(),
            urls: urls.to_vec(),
        };
        self.nodes
            .iter()
            .try_for_each(|node| hosts.write(&node.containerd.hosts_directory()))
    }
}
