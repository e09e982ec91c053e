//! The agent of one node: its pod, its process, and what it says.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use testbed::{Answer, KubeNode, get, wait_until};

use super::super::objects::NAMESPACE;
use super::super::operator::names_agent;
use super::Stage;

/// Its container, and its program.
const CONTAINER: &str = "agent";
const PROGRAM: &str = "pi-agent";
const ADMIN: &str = "127.0.0.1:7786";

/// The pod of a node's agent, as it was when it was looked for.
pub(in super::super) struct AgentPod<'a> {
    stage: &'a Stage,
    node: &'a KubeNode,
    name: String,
    restarts: u64,
    container: String,
}

impl<'a> AgentPod<'a> {
    pub(super) fn find(stage: &'a Stage, node: &'a KubeNode) -> Result<Self> {
        let host = node.host().name.as_str();
        let pods = stage.pods_of("agent")?;
        let pod = pods.iter().find(|pod| {
            let is_here = pod.pointer("/spec/nodeName").and_then(Value::as_str) == Some(host);
            is_here && pod.pointer("/metadata/deletionTimestamp").is_none()
        });
        let pod = pod.with_context(|| format!("{host} has no agent"))?;
        let status = container_status(pod)
            .with_context(|| format!("the agent of {host} has not started"))?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let id = text(status.get("containerID")).unwrap_or_default();
        Ok(Self {
            stage,
            node,
            name: text(pod.pointer("/metadata/name")).context("a pod without a name")?,
            restarts: status
                .get("restartCount")
                .and_then(Value::as_u64)
                .unwrap_or_default(),
            container: id.trim_start_matches("containerd://").to_owned(),
        })
    }

    /// Asks its admin endpoint, on the node.
    pub(in super::super) fn admin(&self, target: &str) -> Result<Answer> {
        get(&self.node.host().netns, ADMIN.parse()?, target)
    }

    /// A text of its status page.
    pub(in super::super) fn status(&self, path: &str) -> Result<String> {
        let answer = self.admin("/status")?;
        let status: Value = serde_json::from_slice(&answer.body).context("parsing the status")?;
        let found = status.pointer(path).and_then(Value::as_str);
        found
            .map(str::to_owned)
            .with_context(|| format!("the status has no {path}: {status}"))
    }

    /// Wants `pi-agent doctor` in its container to find nothing bad. It may warn: an operator's files
    /// keep a registry from the agent.
    pub(in super::super) fn check_with_doctor(&self) -> Result<()> {
        let said = self.doctor();
        let is_well = said.contains(" checks: 0 bad");
        ensure!(is_well, "doctor on {}: {said}", self.node.host().name);
        Ok(())
    }

    /// What `pi-agent doctor` says in its container, however it ends.
    pub(in super::super) fn doctor(&self) -> String {
        let control = &self.stage.cluster.control;
        let said = control.kubectl(&[
            "-n",
            NAMESPACE,
            "exec",
            &self.name,
            "-c",
            CONTAINER,
            "--",
            "/pi-agent",
            "doctor",
        ]);
        said.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Wants containerd to ask it first for images of a registry, now or soon.
    pub(in super::super) fn wait_until_named(
        &self,
        registry: &str,
        within: Duration,
    ) -> Result<()> {
        let host = &self.node.host().name;
        wait_until(
            &format!("the hosts.toml of {registry} on {host} to name the agent"),
            within,
            || Ok(names_agent(self.node, registry).then_some(())),
        )
    }

    /// Halts its process: its sockets stay open, and it does not answer.
    pub(in super::super) fn freeze(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Kills its process.
    pub(in super::super) fn kill(&self) -> Result<()> {
        self.signal("KILL")
    }

    /// How often its container was started again.
    pub(in super::super) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Whether it says that it is ready.
    pub(in super::super) fn is_ready(&self) -> bool {
        self.admin("/readyz")
            .is_ok_and(|answer| answer.status == 200)
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let process = self.process()?;
        let mut kill = Command::new("kill");
        let status = kill
            .args(["-s", signal, &process.to_string()])
            .status()
            .context("starting kill")?;
        ensure!(status.success(), "kill -s {signal} {process} failed");
        Ok(())
    }

    /// The process id of its program: the one whose control group is called as its container.
    fn process(&self) -> Result<u32> {
        ensure!(!self.container.is_empty(), "its container has not started");
        for entry in fs::read_dir("/proc")
            .context("listing the processes")?
            .flatten()
        {
            let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            if is_program(&entry.path(), &self.container) {
                return Ok(id);
            }
        }
        bail!("no process is in container {}", self.container)
    }
}

fn is_program(process: &Path, container: &str) -> bool {
    // A process may end while it is looked at.
    let read = |name: &str| fs::read_to_string(process.join(name)).unwrap_or_default();
    read("cgroup").contains(container) && read("comm").trim() == PROGRAM
}

fn container_status(pod: &Value) -> Option<&Value> {
    let all = pod.pointer("/status/containerStatuses")?.as_array()?;
    all.iter()
        .find(|status| status.get("name").and_then(Value::as_str) == Some(CONTAINER))
}
