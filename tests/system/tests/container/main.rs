//! The agent's image in a pod with exactly the rights of the manifest, on a real containerd node:
//! it counts as the manifest says, cannot write to containerd's content, gives containerd an image
//! from a peer, and leaves the node as it was.

mod arm;
mod database;
mod manifest;
mod probes;
mod restarts;
mod rights;
mod server;
mod surroundings;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pi_agent::{
    ebpf::{InForce, Reason},
    status::Status,
};
use system_tests::{APP, bed, images, is_little, node, on_each_release, pull, push_app};
use testbed::{Agent, Bed, Container, Image, Node, Pod, Release, get, wait_until};

use manifest::Manifest;
use probes::Probes;

const SOON: Duration = Duration::from_secs(30);
const ADMIN: &str = "127.0.0.1:7786";

on_each_release!(
    with_ebpf_in_a_privileged_container,
    with_ebpf_and_three_capabilities,
    without_ebpf_and_its_rights,
);

fn with_ebpf_in_a_privileged_container(release: Release) -> Result<()> {
    check(release, "piccolo.yaml", |pod| {
        rights::has_ebpf_capabilities(pod)?;
        pod.counts_by(InForce::Ebpf, Reason::Best)
    })
}

fn with_ebpf_and_three_capabilities(release: Release) -> Result<()> {
    check(release, "piccolo-capabilities.yaml", |pod| {
        rights::has_only(pod, &["BPF", "NET_ADMIN", "NET_BIND_SERVICE"])?;
        pod.counts_by(InForce::Ebpf, Reason::Best)
    })
}

fn without_ebpf_and_its_rights(release: Release) -> Result<()> {
    check(release, "piccolo-off.yaml", |pod| {
        rights::has_only(pod, &["NET_BIND_SERVICE"])?;
        pod.counts_by(InForce::TcpInfo, Reason::Asked)
    })
}

/// The agent's pod on a node.
struct AgentPod<'a> {
    node: &'a Node,
    pod: Pod,
    agent: Container,
    hosts: Container,
    probes: Probes,
}

fn check(
    release: Release,
    file: &str,
    rights: impl FnOnce(&AgentPod<'_>) -> Result<()>,
) -> Result<()> {
    let (bed, image, name) = prepare(release)?;
    let second = node(&bed, 1)?;
    let before = hosts_file(second)?;
    let manifest = Manifest::read(file, second, &bed.server_url(), &name)?;
    let pod = AgentPod::start(&bed, second, &manifest)?;
    let first_host = hosts_file(second)?;
    assert!(first_host.contains(&Agent::mirror_url()), "{first_host}");
    rights(&pod)?;
    rights::cannot_write(&pod, &second.containerd.content())?;
    rights::cannot_write(&pod, &second.containerd.hosts_directory())?;
    pull_through(&bed, &pod, &image)?;

    pod.leave(&bed, &image)?;
    assert_eq!(hosts_file(second)?, before, "the node is not as it was");
    second.containerd.cri().remove(&Bed::image_name(APP))?;
    pull(second, APP)
}

/// A server, a node that shares the image, and one that is ready for the agent's pod; with what the
/// agent's image is called there.
fn prepare(release: Release) -> Result<(Bed, Image, String)> {
    let mut bed = bed(release, &[2])?;
    let image = push_app(&bed)?;
    bed.start_server(&[])?;
    bed.start_agent(0, &[])?;
    // As an operator's file would be before there was a Piccolo.
    bed.set_hosts(&[bed.registry.url()])?;
    share_from_the_first(&bed, &image)?;
    let second = node(&bed, 1)?;
    second.containerd.prepare_pods()?;
    let name = images::import(second, "pi-agent")?;
    Ok((bed, image, name))
}

/// What a node's hosts.toml says of the bed's registry.
fn hosts_file(node: &Node) -> Result<String> {
    let directory = node.containerd.hosts_directory().join(manifest::REGISTRY);
    fs::read_to_string(directory.join("hosts.toml")).context("reading hosts.toml")
}

fn share_from_the_first(bed: &Bed, image: &Image) -> Result<()> {
    let first = node(bed, 0)?;
    let agent = first.agent.as_ref().context("no agent")?;
    wait_until("the first agent to be ready", SOON, || {
        Ok((agent.admin("/readyz")?.status == 200).then_some(()))
    })?;
    pull(first, APP)?;
    bed.wait_until_shared(image)
}

/// Almost all of the image has to come from the first node, as the agent counts it.
fn pull_through(bed: &Bed, pod: &AgentPod<'_>, image: &Image) -> Result<()> {
    pull(pod.node, APP)?;
    bed.registry.settle()?;
    let from_registry = bed.registry.bytes_to(pod.node.host.address);
    assert!(
        is_little(from_registry, image),
        "the registry sent {from_registry} bytes"
    );
    counted(pod, image)
}

fn counted(pod: &AgentPod<'_>, image: &Image) -> Result<()> {
    wait_until("the agent to have counted the pull", SOON, || {
        let received: u64 = pod
            .status()?
            .peers
            .iter()
            .map(|peer| peer.received_bytes)
            .sum();
        Ok((received >= image.bytes() * 9 / 10).then_some(()))
    })
}

impl<'a> AgentPod<'a> {
    /// Runs the init container to its end, then the agent, until it is ready.
    fn start(bed: &Bed, node: &'a Node, manifest: &Manifest) -> Result<Self> {
        let pod = Pod::start(bed.run(), &node.containerd.cri(), "agent")?;
        let init = pod.run(&manifest.init)?;
        let code = wait_until("the init container to end", SOON, || pod.exit_code(&init))?;
        ensure!(code == 0, "configure ended with {code}: {}", init.log());
        let agent = pod.run(&manifest.agent)?;
        let hosts = pod.run(&manifest.hosts)?;
        let this = Self {
            node,
            pod,
            agent,
            hosts,
            probes: manifest.probes.clone(),
        };
        this.wait_ready()?;
        Ok(this)
    }

    /// Probes the agent as the kubelet does after a start: it ends one that does not start in time.
    fn wait_ready(&self) -> Result<()> {
        let startup = self.probes.startup.as_ref().context("no startup probe")?;
        let steps = [
            (startup, startup.patience()),
            (&self.probes.readiness, SOON),
        ];
        for (probe, within) in steps {
            let ready = wait_until("the agent's container to be ready", within, || {
                if let Some(code) = self.pod.exit_code(&self.agent)? {
                    anyhow::bail!("it ended with {code}");
                }
                Ok(probe.answers(&self.node.host.netns).then_some(()))
            });
            ready.with_context(|| format!("{probe:?}\n{}", self.logs()))?;
        }
        Ok(())
    }

    fn logs(&self) -> String {
        let (agent, hosts) = (self.agent.log(), self.hosts.log());
        format!("the agent's log:\n{agent}\nkeep-hosts' log:\n{hosts}")
    }

    fn status(&self) -> Result<Status> {
        let answer = get(&self.node.host.netns, ADMIN.parse()?, "/status")?;
        serde_json::from_slice(&answer.body).context("parsing the status")
    }

    fn counts_by(&self, in_force: InForce, reason: Reason) -> Result<()> {
        let mode = self.status()?.accounting;
        assert_eq!((mode.in_force, mode.reason), (in_force, reason), "{mode:?}");
        Ok(())
    }

    /// The process id of the agent, as the node counts.
    fn process(&self) -> Result<u32> {
        self.pod.process(&self.agent)
    }

    /// Waits for the end of the agent's container; gives its exit code.
    fn wait_end(&self) -> Result<i32> {
        wait_until("the agent's container to end", SOON, || {
            self.pod.exit_code(&self.agent)
        })
    }

    /// What the kubelet does at the pod's end: a termination request to each container. The server
    /// must know of the farewell at once.
    fn leave(self, bed: &Bed, image: &Image) -> Result<()> {
        let server = bed.server.as_ref().context("no server")?;
        let blob = image.native_blobs().next().context("an empty image")?;
        let holders = |wanted| {
            wait_until(
                &format!("the server to know {wanted} holders"),
                SOON,
                || {
                    let known = server.holders(Bed::group(), &blob.digest)?;
                    Ok((known == wanted).then_some(()))
                },
            )
        };
        holders(2)?;
        let code = self.pod.stop(&self.hosts)?;
        assert_eq!(code, 0, "keep-hosts' log:\n{}", self.hosts.log());
        let code = self.pod.stop(&self.agent)?;
        assert_eq!(code, 0, "the agent's log:\n{}", self.agent.log());
        holders(1)
    }
}
