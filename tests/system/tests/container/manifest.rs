//! The DaemonSet of a plain manifest as what the kubelet would ask of containerd.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use saphyr::{LoadableYamlNode as _, Yaml};
use testbed::{Bed, ContainerSpec, MountSpec, Node, Rights};

use crate::probes::Probes;

/// The bed's registry, which is mirrored in the place of all.
pub(crate) const REGISTRY: &str = "registry.test";

/// What a manifest says of the agent's pod.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) init: ContainerSpec,
    pub(crate) agent: ContainerSpec,
    /// The one that keeps the mirror files.
    pub(crate) hosts: ContainerSpec,
    /// The agent's.
    pub(crate) probes: Probes,
}

/// What a manifest says of the server's pod.
#[derive(Debug)]
pub(crate) struct ServerPod {
    pub(crate) container: ContainerSpec,
    pub(crate) probes: Probes,
    /// Before it is asked to end.
    pub(crate) pre_stop: Duration,
    /// From there to its end, at most.
    pub(crate) grace: Duration,
}

impl Manifest {
    /// Reads a file of `deploy/manifests`, with the places of a standard node replaced by those of
    /// this one, as the chart's values would have it.
    pub(crate) fn read(file: &str, node: &Node, server: &str, image: &str) -> Result<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/manifests");
        let text = fs::read_to_string(directory.join(file)).context("reading a manifest")?;
        Self::of(&text, node, server, image)
    }

    /// The same for what the chart was rendered to.
    pub(crate) fn of(text: &str, node: &Node, server: &str, image: &str) -> Result<Self> {
        let text = at_home(text, node, server);
        let documents = Yaml::load_from_str(&text).context("parsing a manifest")?;
        let daemon_set = documents
            .iter()
            .find(|document| text_at(document, "kind") == Some("DaemonSet"))
            .context("the manifest has no DaemonSet")?;
        let pod = at(daemon_set, &["spec", "template", "spec"])?;
        let spec = |container| {
            let address = node.host.address.to_string();
            specification(pod, container, &address, image)
        };
        let named = |name| {
            items(pod, "containers")
                .find(|container| text_at(container, "name") == Some(name))
                .with_context(|| format!("no container {name}"))
        };
        Ok(Self {
            probes: Probes::read(named("agent")?, node.host.address)?,
            init: spec(first(pod, "initContainers")?)?,
            agent: spec(named("agent")?)?,
            hosts: spec(named("hosts")?)?,
        })
    }
}

impl ServerPod {
    /// Reads what the chart was rendered to. Of what is mounted only directories of the host are known.
    pub(crate) fn of(text: &str, node: &Node, image: &str) -> Result<Self> {
        let documents = Yaml::load_from_str(text).context("parsing a manifest")?;
        let deployment = documents
            .iter()
            .find(|document| text_at(document, "kind") == Some("Deployment"))
            .context("the manifest has no Deployment")?;
        let pod = at(deployment, &["spec", "template", "spec"])?;
        let container = first(pod, "containers")?;
        let seconds = |node, path: &[&str]| {
            let number = at(node, path)?.as_integer();
            let number = number.and_then(|number| u64::try_from(number).ok());
            let number = number.with_context(|| format!("{} is no number", path.join(".")));
            number.map(Duration::from_secs)
        };
        let address: IpAddr = node.host.address;
        Ok(Self {
            container: specification(pod, container, &address.to_string(), image)?,
            probes: Probes::read(container, address)?,
            pre_stop: seconds(container, &["lifecycle", "preStop", "sleep", "seconds"])?,
            grace: seconds(pod, &["terminationGracePeriodSeconds"])?,
        })
    }
}

/// The longest place comes first: some begin like others.
fn at_home(text: &str, node: &Node, server: &str) -> String {
    let containerd = &node.containerd;
    let directory = |path: &Path| {
        path.parent()
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    };
    let (socket, config) = (containerd.socket(), containerd.config_file());
    let replacements = [
        (
            "/var/lib/containerd/io.containerd.content.v1.content",
            containerd.content().display().to_string(),
        ),
        (
            "/etc/containerd/certs.d",
            containerd.hosts_directory().display().to_string(),
        ),
        ("/etc/containerd/config.toml", config.display().to_string()),
        ("/etc/containerd", directory(&config)),
        (
            "/run/containerd/containerd.sock",
            socket.display().to_string(),
        ),
        ("/run/containerd", directory(&socket)),
        (
            "http://piccolo-server.piccolo-system.svc:7789",
            server.to_owned(),
        ),
        ("\"_default\"", format!("{REGISTRY:?}")),
        ("\"default\"", format!("{:?}", Bed::group())),
    ];
    // In two steps, so that what was put in is not taken for what is to be replaced.
    let marked = replacements
        .iter()
        .enumerate()
        .fold(text.to_owned(), |text, (number, (standard, _))| {
            text.replace(standard, &format!("@{number}@"))
        });
    replacements
        .iter()
        .enumerate()
        .fold(marked, |text, (number, (_, own))| {
            text.replace(&format!("@{number}@"), own)
        })
}

fn specification(
    pod: &Yaml<'_>,
    container: &Yaml<'_>,
    address: &str,
    image: &str,
) -> Result<ContainerSpec> {
    let mut env = Vec::new();
    for variable in items(container, "env") {
        let name = text_at(variable, "name").context("a variable without a name")?;
        let value = match text_at(variable, "value") {
            Some(value) => value.to_owned(),
            None if is_host_address(variable) => address.to_owned(),
            None => bail!("{name} has no value"),
        };
        env.push((name.to_owned(), value));
    }
    let mounts = items(container, "volumeMounts").map(|mount| volume(pod, mount));
    let memory = at(container, &["resources", "limits", "memory"]);
    Ok(ContainerSpec {
        name: text_at(container, "name")
            .context("a container without a name")?
            .to_owned(),
        image: image.to_owned(),
        args: container
            .as_mapping_get("args")
            .map(strings)
            .unwrap_or_default(),
        env,
        mounts: mounts.collect::<Result<_>>()?,
        // None is no limit.
        memory: memory
            .ok()
            .and_then(Yaml::as_str)
            .map_or(Ok(0), mebibytes)?,
        rights: rights(pod, container)?,
        shares_processes: flag(pod, "shareProcessNamespace"),
        attempt: 0,
    })
}

fn is_host_address(variable: &Yaml<'_>) -> bool {
    at(variable, &["valueFrom", "fieldRef", "fieldPath"])
        .is_ok_and(|path| matches!(path.as_str(), Some("status.hostIP" | "status.podIP")))
}

fn volume(pod: &Yaml<'_>, mount: &Yaml<'_>) -> Result<MountSpec> {
    let name = text_at(mount, "name").context("a mount without a name")?;
    let volume = items(pod, "volumes")
        .find(|volume| text_at(volume, "name") == Some(name))
        .with_context(|| format!("no volume {name}"))?;
    let host_path = at(volume, &["hostPath", "path"])?;
    Ok(MountSpec {
        host_path: host_path.as_str().context("a path is no text")?.to_owned(),
        container_path: text_at(mount, "mountPath")
            .context("a mount without a path")?
            .to_owned(),
        read_only: flag(mount, "readOnly"),
    })
}

fn rights(pod: &Yaml<'_>, container: &Yaml<'_>) -> Result<Rights> {
    let context = at(container, &["securityContext"])?;
    let of_pod = |keys: &[&str]| at(pod, &[&["securityContext"], keys].concat());
    let named = |kind| {
        at(context, &["capabilities", kind])
            .map(strings)
            .unwrap_or_default()
    };
    let seccomp = ["seccompProfile", "type"];
    let seccomp = at(context, &seccomp).or_else(|_| of_pod(&seccomp));
    Ok(Rights {
        privileged: flag(context, "privileged"),
        user: at(context, &["runAsUser"])
            .or_else(|_| of_pod(&["runAsUser"]))?
            .as_integer()
            .context("no user")?,
        read_only_root: flag(context, "readOnlyRootFilesystem"),
        escalation: context
            .as_mapping_get("allowPrivilegeEscalation")
            .is_none_or(|value| value.as_bool() != Some(false)),
        add: named("add"),
        drop: named("drop"),
        seccomp: seccomp.is_ok_and(|kind| kind.as_str() == Some("RuntimeDefault")),
    })
}

fn mebibytes(text: &str) -> Result<i64> {
    let number = text.strip_suffix("Mi").context("a limit not in Mi")?;
    let number: i64 = number.parse().context("a limit")?;
    Ok(number << 20)
}

pub(crate) fn at<'a, 'i>(node: &'a Yaml<'i>, path: &[&str]) -> Result<&'a Yaml<'i>> {
    let found = path
        .iter()
        .try_fold(node, |node, key| node.as_mapping_get(key));
    found.with_context(|| format!("the manifest has no {}", path.join(".")))
}

fn first<'a, 'i>(node: &'a Yaml<'i>, key: &str) -> Result<&'a Yaml<'i>> {
    let list = at(node, &[key])?;
    list.as_sequence_get(0)
        .with_context(|| format!("{key} is empty"))
}

pub(crate) fn items<'a, 'i>(node: &'a Yaml<'i>, key: &str) -> impl Iterator<Item = &'a Yaml<'i>> {
    let list = node.as_mapping_get(key);
    list.and_then(Yaml::as_sequence).into_iter().flatten()
}

fn strings(list: &Yaml<'_>) -> Vec<String> {
    let texts = list.as_sequence().into_iter().flatten();
    texts
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

pub(crate) fn text_at<'a>(node: &'a Yaml<'_>, key: &str) -> Option<&'a str> {
    node.as_mapping_get(key)?.as_str()
}

fn flag(node: &Yaml<'_>, key: &str) -> bool {
    node.as_mapping_get(key).and_then(Yaml::as_bool) == Some(true)
}
