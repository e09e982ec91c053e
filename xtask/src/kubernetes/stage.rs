//! The cluster with the chart in it: what the cases are played on.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use testbed::{
    Answer, Image, KubeNode, KubePaths, KubePrograms, KubeVersion, Kubernetes, Run, get, wait_until,
};

use super::Images;
use super::chart::Chart;
use super::objects::{self, NAMESPACE};
use super::operator::{self, Snapshot};

mod agents;
mod pulls;

pub(super) use agents::AgentPod;
pub(super) use pulls::{By, Pulled, Pushed};

/// What the release is called.
const RELEASE: &str = "piccolo";
/// The user that the server runs as.
const SERVER_USER: u32 = 65532;
/// In the registry, where the images under test are.
const IMAGES: &str = "piccolo";
/// A roll-out of two nodes and a server; each waits for its seconds of readiness.
const ROLL_OUT: Duration = Duration::from_mins(3);

/// A cluster, and the installed chart.
pub(super) struct Stage {
    pub(super) cluster: Kubernetes,
    programs: KubePrograms,
    chart: Chart,
    helm: PathBuf,
    tag: String,
    /// What the chart is installed with; none if it is not, or not known.
    values: Option<Vec<String>>,
    /// How many images, pods and volumes there have been.
    made: u32,
    volume: Option<String>,
    /// The nodes' mirror files before there was a Piccolo.
    before: Vec<Snapshot>,
}

impl Stage {
    pub(super) fn build(
        run: &Run,
        programs: &KubePrograms,
        images: &Images,
        chart: Chart,
        helm: PathBuf,
    ) -> Result<Self> {
        let cluster = Kubernetes::start(run.clone(), programs)?;
        for (program, archive) in &images.files {
            let directory = run.directory().join(program);
            let image = Image::unpack(archive, &directory)?;
            let name = format!("{IMAGES}/{program}:{}", images.tag);
            cluster.registry.push(&image, &name)?;
        }
        cluster
            .api()
            .create("/api/v1/namespaces", &objects::namespace())?;
        operator::write_files(cluster.nodes.get(1).context("no second node")?)?;
        let before = cluster.nodes.iter().map(Snapshot::take);
        Ok(Self {
            before: before.collect::<Result<_>>()?,
            cluster,
            programs: programs.clone(),
            chart,
            helm,
            tag: images.tag.clone(),
            values: None,
            made: 0,
            volume: None,
        })
    }

    /// Has the chart installed with these values, and all of it running.
    pub(super) fn have(&mut self, values: &[&str]) -> Result<()> {
        self.install(values)?;
        self.wait_until_rolled_out()
    }

    /// Has the chart installed with these values, whatever comes of it.
    pub(super) fn install(&mut self, values: &[&str]) -> Result<()> {
        if self.values.as_deref().is_some_and(|have| have == values) {
            return Ok(());
        }
        // Without a claim the next one needs a volume that none has had.
        let claim =
            format!("/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims/{RELEASE}-server");
        if self.cluster.api().find(&claim)?.is_none() {
            self.make_volume()?;
        }
        self.values = None;
        let chart = self.chart.directory().display().to_string();
        let registry = Kubernetes::image_name(IMAGES);
        let mut arguments = vec![
            "upgrade".to_owned(),
            "--install".to_owned(),
            "--reset-values".to_owned(),
            RELEASE.to_owned(),
            chart,
            format!("--set=image.registry={registry},image.tag={}", self.tag),
        ];
        arguments.extend(values.iter().map(|value| match value.strip_prefix('@') {
            Some(file) => format!("--values={file}"),
            None => format!("--set={value}"),
        }));
        self.helm(&arguments)?;
        self.values = Some(values.iter().map(|&value| value.to_owned()).collect());
        Ok(())
    }

    /// Takes the chart out, and waits until nothing of it runs.
    pub(super) fn uninstall(&mut self) -> Result<()> {
        self.values = None;
        let installed = self.helm(&["list".into(), "--short".into(), "--all".into()])?;
        if installed.lines().any(|release| release == RELEASE) {
            self.helm(&["uninstall".to_owned(), RELEASE.to_owned()])?;
        }
        wait_until("all pods of the release to be gone", ROLL_OUT, || {
            Ok(self.pods()?.is_empty().then_some(()))
        })?;
        self.remove_volume()
    }

    /// Forgets the installed values.
    pub(super) fn distrust(&mut self) {
        self.values = None;
    }

    /// Wants the nodes' mirror files to be as they were before there was a Piccolo.
    pub(super) fn check_files_are_as_before(&self) -> Result<()> {
        for (node, before) in self.cluster.nodes.iter().zip(&self.before) {
            let now = Snapshot::take(node)?;
            now.check(before)
                .with_context(|| format!("on {}", node.host().name))?;
        }
        Ok(())
    }

    pub(super) fn wait_until_rolled_out(&self) -> Result<()> {
        wait_until("the roll-out", ROLL_OUT, || {
            let (agents, server) = (
                self.find("daemonsets", "agent")?,
                self.find("deployments", "server")?,
            );
            let is_done = agents.is_none_or(|set| is_rolled_out(&set, "desiredNumberScheduled"))
                && server.is_none_or(|set| is_rolled_out(&set, "replicas"));
            // Those of before have to be gone, too.
            let ending = self
                .pods()?
                .iter()
                .any(|pod| pod.pointer("/metadata/deletionTimestamp").is_some());
            Ok((is_done && !ending).then_some(()))
        })
    }

    /// Scales a workload of the chart to `replicas`.
    pub(super) fn scale_server(&self, replicas: u32) -> Result<()> {
        let path = workload("deployments", "server");
        let patch = json!({"spec": {"replicas": replicas}});
        self.cluster.api().patch(&path, &patch)?;
        self.wait_until_rolled_out()
    }

    /// Has all agents be replaced, as `kubectl rollout restart` does.
    pub(super) fn restart_agents(&mut self) -> Result<()> {
        self.made += 1;
        let mark = json!({"bed/restarted": self.made.to_string()});
        let patch = json!({"spec": {"template": {"metadata": {"annotations": mark}}}});
        let path = workload("daemonsets", "agent");
        self.cluster.api().patch(&path, &patch).map(drop)
    }

    /// The agent's pod of a node.
    pub(super) fn agent(&self, node: usize) -> Result<AgentPod<'_>> {
        AgentPod::find(self, self.node(node)?)
    }

    /// Waits until the agent of a node was started again in its pod, more than `before` times, and
    /// is ready.
    pub(super) fn wait_until_restarted(
        &self,
        node: usize,
        before: u64,
        within: Duration,
    ) -> Result<()> {
        wait_until("an agent to be started again", within, || {
            let agent = self.agent(node)?;
            Ok((agent.restarts() > before && agent.is_ready()).then_some(()))
        })
    }

    pub(super) fn node(&self, node: usize) -> Result<&KubeNode> {
        self.cluster.nodes.get(node).context("no such node")
    }

    /// The pods of the release that are not gone.
    pub(super) fn pods(&self) -> Result<Vec<Value>> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let mut list = self.cluster.api().get(&path)?;
        let items = list.get_mut("items").map(Value::take);
        match items {
            Some(Value::Array(pods)) => Ok(pods),
            _ => Ok(Vec::new()),
        }
    }

    /// The pods of one of the chart's components.
    pub(super) fn pods_of(&self, component: &str) -> Result<Vec<Value>> {
        let label = "/metadata/labels/app.kubernetes.io~1component";
        let is = |pod: &Value| pod.pointer(label).and_then(Value::as_str) == Some(component);
        Ok(self.pods()?.into_iter().filter(is).collect())
    }

    /// Asks a server of the release, from the control plane's host.
    pub(super) fn server(&self, port: u16, target: &str) -> Result<Answer> {
        let pods = self.pods_of("server")?;
        let address = pods
            .iter()
            .find_map(|pod| pod.pointer("/status/podIP")?.as_str());
        let address: IpAddr = address.context("no server has an address")?.parse()?;
        get(
            self.cluster.control.netns(),
            SocketAddr::new(address, port),
            target,
        )
    }

    /// What the server has logged.
    pub(super) fn server_log(&self) -> Result<String> {
        let deployment = format!("deployment/{RELEASE}-server");
        self.cluster
            .control
            .kubectl(&["-n", NAMESPACE, "logs", &deployment])
    }

    /// Where the chart expects the containerd of a distribution.
    pub(super) fn paths_of(&self, distribution: &str) -> Result<KubePaths> {
        let file = self.chart.directory().join("files/distributions.json");
        let table = fs::read(file).context("reading the chart's distributions")?;
        let table: Value = serde_json::from_slice(&table).context("distributions.json")?;
        let path = |what: &str| -> Result<PathBuf> {
            let path = table.pointer(&format!("/{distribution}/{what}"));
            let path = path.and_then(Value::as_str);
            Ok(path
                .with_context(|| format!("{distribution} has no {what}"))?
                .into())
        };
        Ok(KubePaths {
            socket: path("socket")?,
            content: path("content")?,
            hosts: path("hosts")?,
            config: path("config")?,
        })
    }

    /// What the containerd of the nodes calls itself.
    pub(super) fn runtime(&self) -> String {
        let runtime = self.cluster.runtime(self.programs.version());
        runtime.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// The version of this Kubernetes.
    pub(super) fn version(&self) -> &KubeVersion {
        self.programs.version()
    }

    /// The state of the release, for a report of what failed.
    pub(super) fn describe(&self) -> String {
        let shown = self
            .cluster
            .control
            .kubectl(&["-n", NAMESPACE, "get", "pods", "-o", "wide"]);
        let pods = shown.unwrap_or_else(|error| {
            format!(
                "{error:#}\nThe API server's log:\n{}",
                self.cluster.control.log_tail()
            )
        });
        let events = self.cluster.control.kubectl(&[
            "-n",
            NAMESPACE,
            "get",
            "events",
            "--sort-by=.lastTimestamp",
            "-o",
            "custom-columns=WHO:.involvedObject.name,WHY:.reason,WHAT:.message",
            "--no-headers",
        ]);
        let events = events.unwrap_or_default();
        let last: Vec<_> = events.lines().rev().take(6).collect();
        format!(
            "{pods}{}\n{}",
            last.into_iter().rev().collect::<Vec<_>>().join("\n"),
            self.agents_log()
        )
    }

    /// The last that the agents of both nodes have logged: the next case may replace them.
    fn agents_log(&self) -> String {
        let logged = self.cluster.control.kubectl(&[
            "-n",
            NAMESPACE,
            "logs",
            "--selector=app.kubernetes.io/component=agent",
            "--container=agent",
            "--prefix",
            "--tail=12",
        ]);
        logged.unwrap_or_else(|error| format!("{error:#}"))
    }

    fn find(&self, kind: &str, component: &str) -> Result<Option<Value>> {
        self.cluster.api().find(&workload(kind, component))
    }

    fn make_volume(&mut self) -> Result<()> {
        self.remove_volume()?;
        self.made += 1;
        let name = format!("volume-{}", self.made);
        let directory = self.node(0)?.place(objects::VOLUME);
        if directory.exists() {
            fs::remove_dir_all(&directory).context("emptying the server's volume")?;
        }
        fs::create_dir_all(&directory).context("making the server's volume")?;
        // Kubernetes gives no directory of a node to a group.
        chown(&directory, Some(SERVER_USER), Some(SERVER_USER)).context("giving it away")?;
        let path = "/api/v1/persistentvolumes";
        self.cluster.api().create(path, &objects::volume(&name))?;
        self.volume = Some(name);
        Ok(())
    }

    fn remove_volume(&mut self) -> Result<()> {
        self.volume.take().map_or(Ok(()), |volume| {
            let path = format!("/api/v1/persistentvolumes/{volume}");
            self.cluster.api().delete(&path)
        })
    }

    fn helm(&self, arguments: &[String]) -> Result<String> {
        let home = self.cluster.run().directory().join("helm");
        let mut helm = self.cluster.control.command(Path::new(&self.helm));
        helm.env("HELM_NAMESPACE", NAMESPACE);
        for kind in ["CACHE", "CONFIG", "DATA"] {
            helm.env(format!("HELM_{kind}_HOME"), &home);
        }
        let output = helm.args(arguments).output().context("starting helm")?;
        if !output.status.success() {
            bail!("helm: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn workload(kind: &str, component: &str) -> String {
    format!("/apis/apps/v1/namespaces/{NAMESPACE}/{kind}/{RELEASE}-{component}")
}

/// Whether the wanted version runs, with all replicas available.
fn is_rolled_out(set: &Value, desired: &str) -> bool {
    let number = |path: &str| set.pointer(path).and_then(Value::as_u64);
    let status = |name: &str| number(&format!("/status/{name}")).unwrap_or_default();
    let wanted = match desired {
        "replicas" => number("/spec/replicas").unwrap_or_default(),
        _ => status(desired),
    };
    let (updated, available) = match desired {
        "replicas" => (status("updatedReplicas"), status("availableReplicas")),
        _ => (status("updatedNumberScheduled"), status("numberAvailable")),
    };
    number("/status/observedGeneration") == number("/metadata/generation")
        && [updated, available].iter().all(|&have| have == wanted)
        && (desired == "replicas" && status("replicas") == wanted
            || desired != "replicas" && wanted > 0)
}
