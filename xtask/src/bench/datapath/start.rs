//! Starts our programs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use testbed::{Host, Node, Process, Run, get, wait_until};

use super::images::Made;

const START: Duration = Duration::from_secs(30);
const SHARED: Duration = Duration::from_mins(1);

/// Which agent is started.
#[derive(Debug)]
pub(super) struct AgentPlan<'a> {
    pub(super) name: &'a str,
    pub(super) group: &'a str,
    /// Of the server's address.
    pub(super) scheme: &'a str,
    /// For its admin endpoint, peers and containerd.
    pub(super) ports: [u16; 3],
    pub(super) more: Vec<String>,
}

/// One as it is by default.
pub(super) const PLAIN: AgentPlan<'static> = AgentPlan {
    name: "bench",
    group: "bench",
    scheme: "http",
    ports: [7786, 7787, 7788],
    more: Vec::new(),
};

/// Starts a server, told `more`.
pub(super) fn start_server(
    run: &Run,
    host: &Host,
    programs: &Path,
    more: &[String],
) -> Result<Process> {
    let arguments = [
        "serve".to_owned(),
        format!("--listen={}", server(host)),
        format!("--admin-listen={}", SocketAddr::new(host.address, 7790)),
        format!(
            "--database=sqlite://{}/{}.sqlite",
            run.directory().display(),
            host.name
        ),
    ];
    let arguments = arguments.iter().chain(more);
    let program = programs.join("piccolo-server");
    let name = format!("bench-server-{}", host.name);
    let process = Process::start(run, &host.netns, &name, &program, arguments)?;
    wait_until("the server to answer", START, || {
        Ok((get(&host.netns, server(host), "/healthz")?.status == 200).then_some(()))
    })?;
    Ok(process)
}

pub(super) fn start_agent(
    run: &Run,
    node: &Node,
    finder: &Host,
    programs: &Path,
    plan: &AgentPlan<'_>,
) -> Result<Process> {
    let [admin, peer, mirror] = plan.ports;
    let arguments = [
        "run".to_owned(),
        format!("--server={}://{}", plan.scheme, server(finder)),
        format!("--group={}", plan.group),
        format!("--admin-listen=127.0.0.1:{admin}"),
        format!("--peer-listen={}:{peer}", node.host.address),
        format!("--mirror-listen=127.0.0.1:{mirror}"),
        format!("--advertise-address={}", node.host.address),
        format!("--containerd-socket={}", node.containerd.socket().display()),
        format!("--content-path={}", node.containerd.content().display()),
    ];
    let name = format!("{}-{}-agent", node.host.name, plan.name);
    let program = programs.join("pi-agent");
    let arguments = arguments.iter().chain(&plan.more);
    let process = Process::start(run, &node.host.netns, &name, &program, arguments)?;
    let netns = &node.host.netns;
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    wait_until("the agent to be ready", START, || {
        Ok((get(netns, admin, "/readyz")?.status == 200).then_some(()))
    })?;
    Ok(process)
}

pub(super) fn wait_until_shared(finder: &Host, group: &str, made: &[Made]) -> Result<()> {
    wait_until("the server to know the layers", SHARED, || {
        for digest in made.iter().flat_map(|image| &image.layers) {
            let target = format!("/api/v1/distribution/findkey?group={group}&key={digest}");
            if get(&finder.netns, server(finder), &target)?.status != 200 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

fn server(host: &Host) -> SocketAddr {
    (host.address, 7789).into()
}
