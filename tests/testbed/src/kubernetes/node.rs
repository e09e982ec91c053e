//! A node: a mount namespace that makes it a machine, with containerd, kubelet and kube-proxy.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::control::Control;
use super::programs::{KubePrograms, KubeVersion, Runtime};
use super::{NAME_SERVER, PODS, REGISTRY, write_settings};
use crate::authority::Authority;
use crate::cgroup;
use crate::containerd::config;
use crate::cri::Cri;
use crate::exec;
use crate::network::Host;
use crate::process::Process;
use crate::run::Run;
use crate::wait::wait_until;

const MACHINE: &str = include_str!("node.sh");
const START: Duration = Duration::from_secs(40);
const STOP: Duration = Duration::from_secs(20);

/// What the node's programs ask of `/etc`; what else there is belongs to this machine.
const SHARED_SETTINGS: [&str; 8] = [
    "alternatives",
    "group",
    "ld.so.cache",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "protocols",
    "services",
];

/// What a kubelet wants of the kernel: `SetupContainerManager` and its kin look for these.
const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Where a node's containerd has what an agent looks for.
#[derive(Clone, Debug)]
pub struct KubePaths {
    /// Of its API.
    pub socket: PathBuf,
    /// Its content store, in the directory of all that it keeps.
    pub content: PathBuf,
    /// Its mirror files.
    pub hosts: PathBuf,
    /// Its settings.
    pub config: PathBuf,
}

impl Default for KubePaths {
    /// Those of a containerd that came as a package.
    fn default() -> Self {
        Self {
            socket: "/run/containerd/containerd.sock".into(),
            content: "/var/lib/containerd/io.containerd.content.v1.content".into(),
            hosts: "/etc/containerd/certs.d".into(),
            config: "/etc/containerd/config.toml".into(),
        }
    }
}

/// A node of the cluster. Dropping it ends all that runs on it.
#[derive(Debug)]
pub struct KubeNode {
    run: Run,
    host: Host,
    directory: PathBuf,
    programs: KubePrograms,
    runtime: Runtime,
    paths: KubePaths,
    /// Where kubelet and kube-proxy find who they are.
    configs: [PathBuf; 2],
    running: Option<Running>,
    containerd: Option<Process>,
}

/// Ended in this order.
#[derive(Debug)]
struct Running {
    kubelet: Process,
    _proxy: Process,
    _machine: Process,
}

/// What a node is made of.
pub(super) struct Setup<'a> {
    pub(super) programs: &'a KubePrograms,
    pub(super) runtime: &'a Runtime,
    pub(super) control: &'a Control,
    pub(super) authority: &'a Authority,
    pub(super) registry: IpAddr,
    pub(super) pods: &'a str,
}

impl KubeNode {
    pub(super) fn prepare(run: &Run, host: &Host, setup: &Setup<'_>) -> Result<Self> {
        let node = Self {
            run: run.clone(),
            host: host.clone(),
            directory: run.make_directory(&format!("{}/machine", host.name))?,
            programs: setup.programs.clone(),
            runtime: setup.runtime.clone(),
            paths: KubePaths::default(),
            configs: [&host.name, "proxy"].map(|user| setup.control.config_of(user)),
            running: None,
            containerd: None,
        };
        for place in ["etc", "run", "var/lib", "var/log"] {
            fs::create_dir_all(node.directory.join(place)).context("making a machine")?;
        }
        for (name, value) in SYSCTLS {
            node.write(&format!("/proc/sys/{name}"), &format!("{value}\n"))?;
        }
        node.write_settings(setup)?;
        node.write_containerd_settings()?;
        node.make_pods_group()?;
        Ok(node)
    }

    /// Its place in the network. Its name is the node's.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where a place of the node, below `/etc`, `/run`, `/var/lib` or `/var/log`, is on this
    /// machine.
    pub fn place(&self, path: &str) -> PathBuf {
        self.directory.join(path.trim_start_matches('/'))
    }

    fn host_path(&self, path: &Path) -> PathBuf {
        self.place(&path.display().to_string())
    }

    /// The CRI image service of its containerd.
    pub fn cri(&self) -> Cri {
        Cri::new(&self.host_path(&self.paths.socket))
    }

    /// Its containerd's mirror files, on this machine.
    pub fn mirror_files(&self) -> PathBuf {
        self.host_path(&self.paths.hosts)
    }

    /// The last that its kubelet has logged.
    pub fn kubelet_log_tail(&self) -> String {
        let running = self.running.as_ref();
        running.map_or_else(|| "it does not run".to_owned(), |r| r.kubelet.log_tail())
    }

    pub(super) fn power_on(&mut self) -> Result<()> {
        ensure!(
            self.running.is_none(),
            "{} is running already",
            self.host.name
        );
        let mut machine = self.start_outside(
            "machine",
            "unshare",
            [
                "--mount".to_owned(),
                "sh".to_owned(),
                "-c".to_owned(),
                MACHINE.to_owned(),
                "node".to_owned(),
                self.directory.display().to_string(),
            ],
        )?;
        let mounted = self.directory.join("mounted");
        machine.wait_ready(START, || Ok(mounted.exists()))?;
        self.start_containerd(machine.id())?;
        let kubelet = self.start_kubelet(machine.id())?;
        let proxy = self.start_proxy(machine.id())?;
        self.running = Some(Running {
            kubelet,
            _proxy: proxy,
            _machine: machine,
        });
        Ok(())
    }

    /// Has its containerd be elsewhere, with nothing in it, once the node is powered on again.
    pub(super) fn move_containerd(&mut self, paths: &KubePaths) -> Result<()> {
        ensure!(self.running.is_none(), "{} is running", self.host.name);
        self.paths = paths.clone();
        self.write_containerd_settings()
    }

    /// Everything ends at once, and what is kept in memory is gone.
    pub(super) fn power_off(&mut self) -> Result<()> {
        self.containerd = None;
        self.running = None;
        let pods = self.pods_group();
        let groups = cgroup::root()?.join(pods.trim_start_matches('/'));
        // Beside version 1 there are no containers in it.
        let _ = fs::write(groups.join("cgroup.kill"), "1");
        let run = self.place("/run");
        let empty = || {
            // What ends just now may still write there.
            let _ = fs::remove_dir_all(&run);
            fs::create_dir_all(&run)?;
            Ok(fs::read_dir(&run)?.next().is_none().then_some(()))
        };
        wait_until("a machine's memory to be empty", STOP, empty)?;
        fs::remove_file(self.directory.join("mounted")).context("cutting a machine's power")
    }

    fn start_containerd(&mut self, machine: u32) -> Result<()> {
        let program = self.runtime.program.display().to_string();
        let arguments = [format!("--config={}", self.paths.config.display())];
        let mut process = self.start_inside(machine, "containerd", &program, arguments)?;
        let cri = self.cri();
        process.wait_ready(START, || Ok(cri.list().is_ok()))?;
        self.containerd = Some(process);
        Ok(())
    }

    fn start_kubelet(&self, machine: u32) -> Result<Process> {
        let program = self.programs.path("kubelet").display().to_string();
        let mut arguments = vec![
            "--config=/etc/kubernetes/kubelet.json".to_owned(),
            format!("--kubeconfig={}", self.configs[0].display()),
            format!("--hostname-override={}", self.host.name),
            format!("--node-ip={}", self.host.address),
            "--cert-dir=/var/lib/kubelet/pki".to_owned(),
        ];
        if !self.version().is_at_least(27) {
            let socket = self.runtime_endpoint();
            arguments.push(format!("--container-runtime-endpoint={socket}"));
        }
        if !self.version().is_at_least(24) {
            arguments.push("--container-runtime=remote".to_owned());
        }
        self.start_inside(machine, "kubelet", &program, arguments)
    }

    fn start_proxy(&self, machine: u32) -> Result<Process> {
        let program = self.programs.path("kube-proxy").display().to_string();
        let arguments = [
            format!("--kubeconfig={}", self.configs[1].display()),
            format!("--hostname-override={}", self.host.name),
            "--proxy-mode=iptables".to_owned(),
            format!("--cluster-cidr={PODS}"),
            // These would be set for the whole machine.
            "--conntrack-max-per-core=0".to_owned(),
            "--conntrack-tcp-timeout-established=0".to_owned(),
            "--conntrack-tcp-timeout-close-wait=0".to_owned(),
        ];
        self.start_inside(machine, "kube-proxy", &program, arguments)
    }

    fn start_inside(
        &self,
        machine: u32,
        name: &str,
        program: &str,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Process> {
        let inside = [
            format!("--mount=/proc/{machine}/ns/mnt"),
            "--".to_owned(),
            program.to_owned(),
        ];
        self.start_outside(name, "nsenter", inside.into_iter().chain(arguments))
    }

    fn start_outside(
        &self,
        name: &str,
        program: &str,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Process> {
        let name = format!("{}-{name}", self.host.name);
        let netns = &self.host.netns;
        Process::start(&self.run, netns, &name, Path::new(program), arguments)
    }

    fn write_settings(&self, setup: &Setup<'_>) -> Result<()> {
        for name in SHARED_SETTINGS {
            let from = Path::new("/etc").join(name);
            let to = self.place("/etc");
            if from.exists() {
                exec::run(
                    std::process::Command::new("cp")
                        .arg("-a")
                        .args([&from, &to]),
                )?;
            }
        }
        let registry = setup.registry;
        self.write(
            "/etc/hosts",
            &format!("127.0.0.1 localhost\n{registry} {REGISTRY}\n"),
        )?;
        let name_server = IpAddr::from(NAME_SERVER);
        self.write("/etc/resolv.conf", &format!("nameserver {name_server}\n"))?;
        self.write("/etc/machine-id", &format!("{}\n", machine_id(&self.host)))?;
        let authority = fs::read_to_string(setup.authority.certificate())
            .context("reading the authority's certificate")?;
        self.write("/etc/ssl/certs/ca-certificates.crt", &authority)?;
        let network = network(setup.pods);
        write_settings(&self.place("/etc/cni/net.d/10-bed.conflist"), &network)
    }

    /// Of containerd, and of the kubelet that looks for it.
    fn write_containerd_settings(&self) -> Result<()> {
        let paths = &self.paths;
        let above = |path: &Path| path.parent().map(Path::to_owned);
        let root = above(&paths.content).context("a content store without a directory")?;
        let state = above(&paths.socket).context("a socket without a directory")?;
        fs::create_dir_all(self.mirror_files()).context("making a machine")?;
        let places = config::Places {
            root,
            ttrpc: paths.socket.with_extension("sock.ttrpc"),
            state,
            socket: paths.socket.clone(),
            cni: "/etc/cni/net.d".into(),
            hosts: paths.hosts.clone(),
        };
        let text = config::text(&places, &self.directory)?;
        self.write(&paths.config.display().to_string(), &text)?;
        let kubelet = self.place("/etc/kubernetes/kubelet.json");
        write_settings(&kubelet, &self.kubelet_settings())
    }

    fn runtime_endpoint(&self) -> String {
        format!("unix://{}", self.paths.socket.display())
    }

    fn kubelet_settings(&self) -> serde_json::Value {
        let mut settings = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.pods_group(),
            "clusterDNS": [IpAddr::from(NAME_SERVER)],
            "clusterDomain": "cluster.local",
            "enforceNodeAllocatable": ["none"],
            // This machine's disk is not the node's to judge.
            "evictionHard": {
                "memory.available": "0%",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
                "imagefs.available": "0%",
            },
            "failSwapOn": false,
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "2s",
            "volumePluginDir": "/var/lib/kubelet/plugins",
        });
        let mut since = |minor, key: &str, value| {
            if self.version().is_at_least(minor) {
                settings[key] = value;
            }
        };
        let socket = self.runtime_endpoint();
        since(27, "containerRuntimeEndpoint", json!(socket));
        since(31, "failCgroupV1", json!(false));
        settings
    }

    /// Where the control groups of its pods are: below the run's own, so that its cleaner finds
    /// them. A kubelet wants it to be there in each hierarchy.
    fn pods_group(&self) -> String {
        format!("/{}/{}-pods", self.run.name(), self.host.name)
    }

    fn make_pods_group(&self) -> Result<()> {
        let group = self.pods_group();
        let root = cgroup::root()?;
        let beside = Path::new("/sys/fs/cgroup");
        let first = fs::read_dir(beside).context("listing the control groups")?;
        let hierarchies = first.flatten().map(|entry| entry.path());
        let hierarchies = hierarchies.filter(|path| path.join("cgroup.sane_behavior").exists());
        for hierarchy in hierarchies.chain([root]) {
            let path = hierarchy.join(group.trim_start_matches('/'));
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        Ok(())
    }

    fn version(&self) -> &KubeVersion {
        self.programs.version()
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.place(path);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).with_context(|| format!("making {}", above.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }
}

impl Drop for KubeNode {
    fn drop(&mut self) {
        // What has its files in the machine's mounts ends before those who made them.
        self.containerd = None;
        self.running = None;
    }
}

/// The pods of a node are on a bridge, and go out by their node, as they are.
fn network(pods: &str) -> serde_json::Value {
    json!({
        "cniVersion": "0.3.1",
        "name": "bed",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn machine_id(host: &Host) -> String {
    use sha2::{Digest as _, Sha256};
    let mut id = hex::encode(Sha256::digest(&host.name));
    id.truncate(32);
    id
}
