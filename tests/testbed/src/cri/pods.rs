//! Pods over containerd's CRI runtime service, as the kubelet starts them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::Cri;
use super::runtime::runtime_service_client::RuntimeServiceClient;
use super::runtime::security_profile::ProfileType;
use super::runtime::{self as messages, ContainerState, ImageSpec, NamespaceMode};
use crate::run::Run;

const START: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_secs(10);
/// Containers get this long after a termination request.
const STOP_SECONDS: i64 = 20;

/// What a container is and may do. The names are those of a pod's manifest.
#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    /// Its name in the pod.
    pub name: String,
    /// Its image, which has to be there.
    pub image: String,
    /// The arguments of the image's program.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Directories of the node.
    pub mounts: Vec<MountSpec>,
    /// The most memory that it may use, in bytes; 0 is no limit.
    pub memory: i64,
    /// Its rights.
    pub rights: Rights,
    /// Whether it sees the processes of the pod's other containers.
    pub shares_processes: bool,
    /// How often it was started before in this pod.
    pub attempt: u32,
}

/// A directory of the node in a container.
#[derive(Clone, Debug)]
pub struct MountSpec {
    /// Where it is on the node.
    pub host_path: String,
    /// Where the container sees it.
    pub container_path: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// A container's security context.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// All capabilities and devices, no seccomp.
    pub privileged: bool,
    /// The user.
    pub user: i64,
    /// Whether its root file system can only be read.
    pub read_only_root: bool,
    /// Whether programs may gain rights that their parent lacks.
    pub escalation: bool,
    /// Capabilities beyond the usual ones, without `CAP_`.
    pub add: Vec<String>,
    /// Capabilities to do without; `ALL` is all of the usual ones.
    pub drop: Vec<String>,
    /// Whether the runtime's own seccomp profile is in force.
    pub seccomp: bool,
}

/// A pod on the network of its node. Its containers end with it, and it ends with the run.
#[derive(Debug)]
pub struct Pod {
    cri: Cri,
    id: String,
    logs: PathBuf,
    config: messages::PodSandboxConfig,
}

/// A container of a pod.
#[derive(Clone, Debug)]
pub struct Container {
    id: String,
    log: PathBuf,
}

/// What a command in a container wrote, and how it ended.
#[derive(Clone, Debug)]
pub struct Executed {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Pod {
    /// Starts an empty pod. `name` has to be unique on its node.
    ///
    /// # Errors
    ///
    /// What containerd says.
    pub fn start(run: &Run, cri: &Cri, name: &str) -> Result<Self> {
        Self::start_with(run, cri, name, &[])
    }

    /// [`Pod::start`] with name servers other than the node's.
    ///
    /// # Errors
    ///
    /// What containerd says.
    pub fn start_with(run: &Run, cri: &Cri, name: &str, name_servers: &[&str]) -> Result<Self> {
        let logs = run.make_directory(&format!("{name}-logs"))?;
        let namespaces = messages::NamespaceOption {
            network: NamespaceMode::Node.into(),
            pid: NamespaceMode::Pod.into(),
            ipc: NamespaceMode::Pod.into(),
        };
        let config = messages::PodSandboxConfig {
            metadata: Some(messages::PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("{}-{name}", run.name()),
                namespace: "piccolo-system".to_owned(),
                attempt: 0,
            }),
            log_directory: logs.display().to_string(),
            dns_config: (!name_servers.is_empty()).then(|| messages::DnsConfig {
                servers: name_servers
                    .iter()
                    .map(|&server| server.to_owned())
                    .collect(),
            }),
            linux: Some(messages::LinuxPodSandboxConfig {
                // Below the run's own group, so that its cleaner finds what is left.
                cgroup_parent: format!("/{}/pods", run.name()),
                security_context: Some(messages::LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces),
                    // As the kubelet: a privileged container needs a privileged sandbox.
                    privileged: true,
                }),
            }),
        };
        let request = messages::RunPodSandboxRequest {
            config: Some(config.clone()),
        };
        let answer = runtime(cri, START, async |mut runtime| {
            runtime.run_pod_sandbox(request).await
        })
        .with_context(|| format!("starting pod {name}"))?;
        Ok(Self {
            cri: cri.clone(),
            id: answer.pod_sandbox_id,
            logs,
            config,
        })
    }

    /// Starts a container in it.
    ///
    /// # Errors
    ///
    /// What containerd says.
    pub fn run(&self, spec: &ContainerSpec) -> Result<Container> {
        let log = format!("{}.log", spec.name);
        let request = messages::CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(spec.message(&log)),
            sandbox_config: Some(self.config.clone()),
        };
        let started = runtime(&self.cri, START, async |mut runtime| {
            let created = runtime.create_container(request).await?;
            let request = messages::StartContainerRequest {
                container_id: created.get_ref().container_id.clone(),
            };
            runtime.start_container(request).await?;
            Ok(created)
        });
        let id = started
            .with_context(|| format!("starting container {}", spec.name))?
            .container_id;
        Ok(Container {
            id,
            log: self.logs.join(log),
        })
    }

    /// The exit code of a container that has ended.
    ///
    /// # Errors
    ///
    /// What containerd says.
    pub fn exit_code(&self, container: &Container) -> Result<Option<i32>> {
        let status = self.status(container)?.status;
        let status = status.context("containerd gave no status of a container")?;
        Ok((status.state() == ContainerState::ContainerExited).then_some(status.exit_code))
    }

    /// The process id, as the node counts, of a container's program.
    ///
    /// # Errors
    ///
    /// What containerd says, or that it gave none.
    pub fn process(&self, container: &Container) -> Result<u32> {
        let status = self.status(container)?;
        let info = status
            .info
            .get("info")
            .context("containerd gave no details")?;
        let info: serde_json::Value = serde_json::from_str(info).context("containerd's details")?;
        let id = info.get("pid").and_then(serde_json::Value::as_u64);
        let id = id.context("containerd gave no process id")?;
        u32::try_from(id).context("a process id out of range")
    }

    /// Runs a command in a container to its end.
    ///
    /// # Errors
    ///
    /// What containerd says; not that the command failed.
    pub fn execute(&self, container: &Container, command: &[&str]) -> Result<Executed> {
        let request = messages::ExecSyncRequest {
            container_id: container.id.clone(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: STOP_SECONDS,
        };
        let answer = runtime(&self.cri, START, async |mut runtime| {
            runtime.exec_sync(request).await
        })
        .with_context(|| format!("running {command:?}"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Executed {
            code: answer.exit_code,
            stdout: text(answer.stdout),
            stderr: text(answer.stderr),
        })
    }

    /// Asks a container to end, and gives its exit code.
    ///
    /// # Errors
    ///
    /// What containerd says, or that it did not end.
    pub fn stop(&self, container: &Container) -> Result<i32> {
        let request = messages::StopContainerRequest {
            container_id: container.id.clone(),
            timeout: STOP_SECONDS,
        };
        runtime(&self.cri, START, async |mut runtime| {
            runtime.stop_container(request).await
        })?;
        self.exit_code(container)?
            .context("a container that was stopped still runs")
    }

    fn status(&self, container: &Container) -> Result<messages::ContainerStatusResponse> {
        let request = messages::ContainerStatusRequest {
            container_id: container.id.clone(),
            verbose: true,
        };
        runtime(&self.cri, SHORT, async |mut runtime| {
            runtime.container_status(request).await
        })
        .context("asking for the status of a container")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let pod_sandbox_id = self.id.clone();
        let ended = runtime(&self.cri, START, async |mut runtime| {
            let request = messages::StopPodSandboxRequest {
                pod_sandbox_id: pod_sandbox_id.clone(),
            };
            let stopped = runtime.stop_pod_sandbox(request).await;
            let request = messages::RemovePodSandboxRequest { pod_sandbox_id };
            runtime.remove_pod_sandbox(request).await?;
            stopped
        });
        // The run's cleaner ends what is left.
        drop(ended);
    }
}

impl Container {
    /// What its program has written.
    pub fn log(&self) -> String {
        read(&self.log)
    }
}

impl Executed {
    /// Its standard output.
    ///
    /// # Errors
    ///
    /// That the command failed, with what it wrote.
    pub fn success(self) -> Result<String> {
        let Self {
            code,
            stdout,
            stderr,
        } = self;
        ensure!(code == 0, "it ended with {code}:\n{stdout}{stderr}");
        Ok(stdout)
    }
}

impl ContainerSpec {
    fn message(&self, log: &str) -> messages::ContainerConfig {
        let env = self.env.iter().map(|(key, value)| messages::KeyValue {
            key: key.clone(),
            value: value.clone(),
        });
        let mounts = self.mounts.iter().map(|mount| messages::Mount {
            container_path: mount.container_path.clone(),
            host_path: mount.host_path.clone(),
            readonly: mount.read_only,
        });
        let processes = if self.shares_processes {
            NamespaceMode::Pod
        } else {
            NamespaceMode::Container
        };
        messages::ContainerConfig {
            metadata: Some(messages::ContainerMetadata {
                name: self.name.clone(),
                attempt: self.attempt,
            }),
            image: Some(ImageSpec {
                image: self.image.clone(),
            }),
            args: self.args.clone(),
            envs: env.collect(),
            mounts: mounts.collect(),
            log_path: log.to_owned(),
            linux: Some(messages::LinuxContainerConfig {
                resources: Some(messages::LinuxContainerResources {
                    memory_limit_in_bytes: self.memory,
                }),
                security_context: Some(self.rights.message(processes)),
            }),
        }
    }
}

impl Rights {
    fn message(&self, processes: NamespaceMode) -> messages::LinuxContainerSecurityContext {
        let seccomp = if self.seccomp {
            ProfileType::RuntimeDefault
        } else {
            ProfileType::Unconfined
        };
        messages::LinuxContainerSecurityContext {
            capabilities: Some(messages::Capability {
                add_capabilities: self.add.clone(),
                drop_capabilities: self.drop.clone(),
            }),
            privileged: self.privileged,
            namespace_options: Some(messages::NamespaceOption {
                network: NamespaceMode::Node.into(),
                pid: processes.into(),
                ipc: NamespaceMode::Pod.into(),
            }),
            run_as_user: Some(messages::Int64Value { value: self.user }),
            readonly_rootfs: self.read_only_root,
            no_new_privs: !self.escalation,
            seccomp: Some(messages::SecurityProfile {
                profile_type: seccomp.into(),
            }),
        }
    }
}

/// Calls the runtime service.
fn runtime<A>(
    cri: &Cri,
    deadline: Duration,
    call: impl AsyncFnOnce(RuntimeServiceClient<Channel>) -> Result<Response<A>, Status>,
) -> Result<A> {
    cri.call(deadline, async |channel| {
        call(RuntimeServiceClient::new(channel)).await
    })
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
