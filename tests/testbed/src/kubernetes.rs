//! A real Kubernetes on one machine: a control plane and two nodes, each with a kubelet, a
//! containerd and a kube-proxy of its own, in network and mount namespaces.
//!
//! On a node everything is where it is on one that `kubeadm` made: the chart runs with its default
//! paths. What a kubelet would change in the machine's kernel settings it changes in files of the
//! bed's, and its containers' control groups are below the run's own.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::authority::Authority;
use crate::containerd::pause;
use crate::image::Image;
use crate::network::{Host, Network, Plan};
use crate::registry::Registry;
use crate::run::Run;
use crate::wait::wait_until;

mod api;
mod control;
mod names;
mod node;
mod programs;

pub use api::Api;
pub use control::Control;
pub use node::{KubeNode, KubePaths};
pub use programs::{KubePrograms, KubeVersion};

use names::Names;
use programs::Runtime;

/// The registry's name in image names. DNS leads to it.
pub(crate) const REGISTRY: &str = "registry.test";
/// Beside the network's own addresses, which are 198.18.0.0/16: those of services and of pods.
const SERVICES: &str = "198.19.0.0/24";
const NAME_SERVER: [u8; 4] = [198, 19, 0, 10];
const PODS: &str = "198.19.128.0/17";
const READY: Duration = Duration::from_mins(2);
/// Where a registry is expected whose name is all that is known of it.
const HTTPS: u16 = 443;

/// The cluster. Dropping it removes it.
#[derive(Debug)]
pub struct Kubernetes {
    // Nodes go before the control plane, and all before the run that cleans up after them.
    /// The nodes, which are called as their hosts.
    pub nodes: Vec<KubeNode>,
    names: Names,
    /// The control plane.
    pub control: Control,
    /// The registry, with TLS and a certificate that the nodes trust.
    pub registry: Registry,
    authority: Authority,
    network: Network,
    run: Run,
    pause: Image,
}

impl Kubernetes {
    /// Starts a cluster of two nodes and waits until they are ready.
    ///
    /// # Errors
    ///
    /// When a part cannot be made or does not start.
    pub fn start(run: Run, programs: &KubePrograms) -> Result<Self> {
        let mut network = Network::build(&run, &Plan::unshaped(&[1, 1]))?;
        let registry_host = network.add_core_host("registry", None)?;
        let control_host = network.add_core_host("control", None)?;
        let authority = Authority::new(&run)?;
        let mut registry = Registry::start(&run, &registry_host)?;
        let certificate = authority.certify(REGISTRY, &[registry_host.address])?;
        registry.serve_tls(&run, &certificate, HTTPS)?;
        let directory = run.directory().join("pause-image");
        let pause = Image::unpack(&pause::archive()?, &directory)?;
        let (_, name) = pause::NAME.split_once('/').context("a name without a /")?;
        registry.push(&pause, name)?;

        connect_pods(&network, &control_host)?;
        let control = Control::start(&run, &control_host, programs)?;
        let names = Names::start(control.api(), registry.address(), network.nodes())?;
        let runtime = Runtime::choose(programs.version())?;
        let mut nodes = Vec::new();
        for (number, host) in (0..).zip(network.nodes()) {
            let node = KubeNode::prepare(
                &run,
                host,
                &node::Setup {
                    programs,
                    runtime: &runtime,
                    control: &control,
                    authority: &authority,
                    registry: registry.address(),
                    pods: &pods_of(number),
                },
            )?;
            nodes.push(node);
        }
        let mut cluster = Self {
            nodes,
            names,
            control,
            registry,
            authority,
            network,
            run,
            pause,
        };
        for node in &mut cluster.nodes {
            node.power_on()?;
        }
        cluster.wait_until_nodes_are_ready()?;
        Ok(cluster)
    }

    /// Its API.
    pub fn api(&self) -> &Api {
        self.control.api()
    }

    /// The run it belongs to.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The name under which nodes pull what was pushed as `name`.
    pub fn image_name(name: &str) -> String {
        format!("{REGISTRY}/{name}")
    }

    /// The certificate of the authority that the nodes trust, in PEM.
    pub fn authority(&self) -> PathBuf {
        self.authority.certificate()
    }

    /// The containerd of the nodes, as it calls itself.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub fn runtime(&self, version: &KubeVersion) -> Result<String> {
        Ok(Runtime::choose(version)?.name().to_owned())
    }

    /// Pushes an image that waits until it is ended, of random layers of these sizes in KiB.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or the registry refuses it.
    pub fn push_new(&self, name: &str, layers: &[u32]) -> Result<Image> {
        let directory = self.run.directory().join("images").join(name);
        let image = self.pause.grow(layers, &directory)?;
        self.registry.push(&image, name)?;
        Ok(image)
    }

    /// Adds a host beside the nodes, that pods reach as nodes do.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn add_host(&mut self, name: &str) -> Result<Host> {
        let host = self.network.add_core_host(name, None)?;
        for (number, node) in (0..).zip(self.network.nodes()) {
            host.route(&pods_of(number), node.address)?;
        }
        Ok(host)
    }

    /// Has DNS lead from a name to an address.
    pub fn name(&self, name: &str, address: IpAddr) {
        self.names.add(name, address);
    }

    /// Cuts a node's power: all that runs on it is gone at once, and its address does not answer.
    ///
    /// # Errors
    ///
    /// When there is no such node, or its link cannot be cut.
    pub fn power_off(&mut self, node: usize) -> Result<()> {
        let node = self.nodes.get_mut(node).context("no such node")?;
        self.network.unplug(node.host())?;
        node.power_off()
    }

    /// Gives a node its power back. Its disk has what it had; `/run` is empty.
    ///
    /// # Errors
    ///
    /// When there is no such node, or what runs on it does not start.
    pub fn power_on(&mut self, node: usize) -> Result<()> {
        let node = self.nodes.get_mut(node).context("no such node")?;
        self.network.plug(node.host())?;
        node.power_on()
    }

    /// Reboots all nodes, with their containerd elsewhere: as another distribution has it. Waits
    /// until they are ready.
    ///
    /// # Errors
    ///
    /// When what runs on a node does not start.
    pub fn move_containerd(&mut self, paths: &KubePaths) -> Result<()> {
        for number in 0..self.nodes.len() {
            self.power_off(number)?;
            let node = self.nodes.get_mut(number).context("no such node")?;
            node.move_containerd(paths)?;
            self.power_on(number)?;
        }
        self.wait_until_nodes_are_ready()
    }

    /// Waits until all nodes are ready.
    ///
    /// # Errors
    ///
    /// When the time passes.
    pub fn wait_until_nodes_are_ready(&self) -> Result<()> {
        let waited = wait_until("the nodes to be ready", READY, || {
            for node in &self.nodes {
                let path = format!("/api/v1/nodes/{}", node.host().name);
                let known = self.api().find(&path)?;
                if !known.as_ref().is_some_and(is_ready) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        });
        waited.with_context(|| {
            let logs: Vec<_> = self.nodes.iter().map(KubeNode::kubelet_log_tail).collect();
            format!("the kubelets' logs:\n{}", logs.join("\n---\n"))
        })
    }
}

/// Whether an object's condition `Ready` holds.
fn is_ready(object: &Value) -> bool {
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        let is = |key: &str, value: &str| condition.get(key).and_then(Value::as_str) == Some(value);
        is("type", "Ready") && is("status", "True")
    })
}

/// The addresses of a node's pods.
fn pods_of(node: u8) -> String {
    format!("198.19.{}.0/24", 128 + u16::from(node))
}

/// Has nodes and control plane find the pods, and gives nodes the route to elsewhere that kubelet
/// and kube-proxy expect; it leads nowhere.
fn connect_pods(network: &Network, control: &Host) -> Result<()> {
    ensure!(network.nodes().len() < 128, "too many nodes");
    for (number, node) in (0..).zip(network.nodes()) {
        for other in network.nodes().iter().chain([control]) {
            if other.address != node.address {
                other.route(&pods_of(number), node.address)?;
            }
        }
        node.route("default", control.address)?;
        node.add_address(NAME_SERVER.into())?;
    }
    Ok(())
}

/// Writes a file of settings, as JSON, which is YAML too.
fn write_settings(path: &Path, settings: &Value) -> Result<()> {
    if let Some(above) = path.parent() {
        std::fs::create_dir_all(above).with_context(|| format!("making {}", above.display()))?;
    }
    std::fs::write(path, format!("{settings:#}\n"))
        .with_context(|| format!("writing {}", path.display()))
}
