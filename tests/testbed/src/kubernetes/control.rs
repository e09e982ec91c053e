//! The control plane: etcd, API server, controllers, scheduler, and a way to ask the API.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::api::Api;
use super::programs::KubePrograms;
use super::{SERVICES, write_settings};
use crate::exec;
use crate::netns::Netns;
use crate::network::Host;
use crate::process::Process;
use crate::run::Run;

const START: Duration = Duration::from_mins(3);
const API: u16 = 6443;
const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_PEER: &str = "http://127.0.0.1:2380";
const PROXY: u16 = 8001;

/// Users of the API: name of the token, user, group.
const USERS: [(&str, &str, &str); 4] = [
    ("administrator", "administrator", "system:masters"),
    (
        "controllers",
        "system:kube-controller-manager",
        "system:authenticated",
    ),
    ("scheduler", "system:kube-scheduler", "system:authenticated"),
    ("proxy", "system:kube-proxy", "system:authenticated"),
];

/// A running control plane.
#[derive(Debug)]
pub struct Control {
    host: Host,
    directory: PathBuf,
    kubectl: PathBuf,
    api: Api,
    // What asks ends before what answers.
    _proxy: Process,
    _scheduler: Process,
    _controllers: Process,
    apiserver: Process,
    _etcd: Process,
}

/// Starts its programs.
struct Starter<'a> {
    run: &'a Run,
    host: &'a Host,
    programs: &'a KubePrograms,
    directory: PathBuf,
}

impl Control {
    pub(super) fn start(run: &Run, host: &Host, programs: &KubePrograms) -> Result<Self> {
        let starter = Starter {
            run,
            host,
            programs,
            directory: run.make_directory("control")?,
        };
        starter.write_users()?;
        let key = signing_key(run, "service-accounts")?;
        let etcd = starter.etcd()?;
        let mut apiserver = starter.apiserver(&key)?;
        let proxy = starter.proxy()?;
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PROXY);
        let api = Api::new(&host.netns, address);
        apiserver.wait_ready(START, || Ok(api.text("/readyz").is_ok()))?;
        Ok(Self {
            api,
            _controllers: starter.controllers(&key)?,
            _scheduler: starter.scheduler()?,
            _proxy: proxy,
            apiserver,
            _etcd: etcd,
            host: host.clone(),
            kubectl: programs.path("kubectl"),
            directory: starter.directory,
        })
    }

    /// Its API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The namespace of its host, from which nodes and pods are reached.
    pub fn netns(&self) -> &Netns {
        &self.host.netns
    }

    /// A command that runs in the API server's network namespace, with the credentials for it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = self.host.netns.command(program);
        command.env("KUBECONFIG", self.config_of("administrator"));
        command
    }

    /// Runs `kubectl`, and gives what it writes.
    ///
    /// # Errors
    ///
    /// When it fails, with what it says.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        exec::run(self.command(&self.kubectl).args(arguments))
    }

    /// The last that the API server has logged.
    pub fn log_tail(&self) -> String {
        self.apiserver.log_tail()
    }

    /// The file that leads a client to the API as one of its users.
    pub(super) fn config_of(&self, user: &str) -> PathBuf {
        config_of(&self.directory, user)
    }
}

impl Starter<'_> {
    /// Tokens, and for each a file that leads to the API with it. The API server makes its own
    /// certificate, and its clients take it as it is.
    fn write_users(&self) -> Result<()> {
        let mut tokens = String::new();
        let nodes = ["n1", "n2"].map(|node| {
            let user = format!("system:node:{node}");
            (node.to_owned(), user, "system:nodes".to_owned())
        });
        let own = USERS.map(|(name, user, group)| (name.into(), user.into(), group.into()));
        for (name, user, group) in own.into_iter().chain(nodes) {
            writeln!(tokens, "token-of-{name},{user},{name},\"{group}\"")?;
            let server = format!("https://{}", SocketAddr::new(self.host.address, API));
            let config = json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{
                    "name": "bed",
                    "cluster": {"server": server, "insecure-skip-tls-verify": true},
                }],
                "users": [{"name": name, "user": {"token": format!("token-of-{name}")}}],
                "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": name}}],
                "current-context": "bed",
            });
            write_settings(&config_of(&self.directory, &name), &config)?;
        }
        fs::write(self.directory.join("tokens.csv"), tokens).context("writing tokens")
    }

    fn etcd(&self) -> Result<Process> {
        let data = self.directory.join("etcd");
        let arguments = [
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={ETCD}"),
            format!("--advertise-client-urls={ETCD}"),
            format!("--listen-peer-urls={ETCD_PEER}"),
            format!("--initial-advertise-peer-urls={ETCD_PEER}"),
            format!("--initial-cluster=default={ETCD_PEER}"),
        ];
        self.start("etcd", self.programs.etcd(), arguments)
    }

    fn apiserver(&self, key: &Path) -> Result<Process> {
        let at = |name: &str| self.directory.join(name).display().to_string();
        let key = key.display();
        let arguments = [
            format!("--etcd-servers={ETCD}"),
            format!("--secure-port={API}"),
            "--bind-address=0.0.0.0".to_owned(),
            format!("--advertise-address={}", self.host.address),
            format!("--cert-dir={}", at("certificates")),
            format!("--token-auth-file={}", at("tokens.csv")),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={key}"),
            format!("--service-account-signing-key-file={key}"),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--allow-privileged=true".to_owned(),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ];
        let program = self.programs.path("kube-apiserver");
        self.start("kube-apiserver", &program, arguments)
    }

    fn controllers(&self, key: &Path) -> Result<Process> {
        let certificate = self.directory.join("certificates/apiserver.crt");
        let config = config_of(&self.directory, "controllers");
        let plugins = self.directory.join("plugins");
        let arguments = [
            format!("--kubeconfig={}", config.display()),
            "--use-service-account-credentials=true".to_owned(),
            format!("--service-account-private-key-file={}", key.display()),
            format!("--root-ca-file={}", certificate.display()),
            "--allocate-node-cidrs=false".to_owned(),
            // It would be made in a directory of this machine's.
            format!("--flex-volume-plugin-dir={}", plugins.display()),
            "--leader-elect=false".to_owned(),
        ];
        let program = self.programs.path("kube-controller-manager");
        self.start("kube-controller-manager", &program, arguments)
    }

    fn scheduler(&self) -> Result<Process> {
        let config = config_of(&self.directory, "scheduler");
        let arguments = [
            format!("--kubeconfig={}", config.display()),
            "--leader-elect=false".to_owned(),
        ];
        let program = self.programs.path("kube-scheduler");
        self.start("kube-scheduler", &program, arguments)
    }

    fn proxy(&self) -> Result<Process> {
        let config = config_of(&self.directory, "administrator");
        let arguments = [
            "proxy".to_owned(),
            format!("--kubeconfig={}", config.display()),
            format!("--port={PROXY}"),
        ];
        self.start("kubectl-proxy", &self.programs.path("kubectl"), arguments)
    }

    fn start(
        &self,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Process> {
        ensure!(program.is_file(), "there is no {}", program.display());
        Process::start(self.run, &self.host.netns, name, program, arguments)
    }
}

/// Makes the key that service accounts' tokens are signed with.
fn signing_key(run: &Run, name: &str) -> Result<PathBuf> {
    let path = run.directory().join(format!("{name}.key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["genrsa", "-out"]).arg(&path).arg("2048");
    exec::run(&mut openssl).context("making a key")?;
    Ok(path)
}

fn config_of(directory: &Path, user: &str) -> PathBuf {
    directory.join(format!("{user}.kubeconfig"))
}
