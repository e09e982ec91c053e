//! A node of one directory: real agents, real files, and no containerd.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Where older releases listen by default; a test need not be root for it.
pub(crate) const FORMER: u16 = 7788;
const ADMIN: u16 = 7786;

pub(crate) struct Bed {
    pub(crate) root: tempfile::TempDir,
    ip: Ipv4Addr,
    /// Of the mirror.
    pub(crate) port: u16,
}

/// A process that ends with the test.
pub(crate) struct Process(Child);

impl Bed {
    /// Its agents listen at a loopback address of their own.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, NEXT.fetch_add(1, Ordering::Relaxed), high, low.max(1));
        let bed = Self {
            root: tempfile::tempdir().unwrap(),
            ip,
            port: FORMER,
        };
        fs::create_dir(bed.dir()).unwrap();
        let text = format!(
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = {:?}\n",
            bed.dir().display().to_string()
        );
        fs::write(bed.path("config.toml"), text).unwrap();
        bed
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.path("certs.d")
    }

    pub(crate) fn file(&self, registry: &str) -> PathBuf {
        self.dir().join(registry).join("hosts.toml")
    }

    pub(crate) fn write(&self, registry: &str, text: &str) {
        fs::create_dir_all(self.dir().join(registry)).unwrap();
        fs::write(self.file(registry), text).unwrap();
    }

    pub(crate) fn mirror(&self) -> SocketAddr {
        (self.ip, self.port).into()
    }

    /// The status with which a mirror answers at a port, if one does.
    pub(crate) fn answers(&self, port: u16) -> Option<String> {
        let mut stream = TcpStream::connect((self.ip, port)).ok()?;
        stream.set_read_timeout(Some(SOON)).unwrap();
        let request = "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.lines().next().map(str::to_owned)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.mirror())
    }

    /// Whether containerd would ask the agent first for a registry.
    pub(crate) fn asks(&self, registry: &str) -> bool {
        let text = fs::read_to_string(self.file(registry)).unwrap_or_default();
        let host = text.find("[host.");
        host.is_some() && host == text.find(&format!("[host.\"{}\"]", self.url()))
    }

    /// Every file and directory under `certs.d`.
    pub(crate) fn tree(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        fn walk(at: &Path, tree: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, tree);
                    tree.insert(path, None);
                } else {
                    let bytes = fs::read(&path).unwrap();
                    tree.insert(path, Some(bytes));
                }
            }
        }
        let mut tree = BTreeMap::new();
        walk(&self.dir(), &mut tree);
        tree
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pi-agent"));
        command
            .arg(name)
            .env("PI_AGENT_HOSTS_DIR", self.dir())
            .env("PI_AGENT_CONTAINERD_CONFIG", self.path("config.toml"))
            .env("PI_AGENT_REGISTRY", "_default,quay.io")
            .env("PI_AGENT_MIRROR_URL", self.url());
        command
    }

    /// Runs `pi-agent configure` to its end.
    pub(crate) fn configure(&self, arguments: &[&str]) -> Output {
        self.command("configure").args(arguments).output().unwrap()
    }

    /// The checks of `pi-agent doctor`.
    pub(crate) fn doctor(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self
            .command("doctor")
            .env_remove("PI_AGENT_REGISTRY")
            .arg(format!("--admin={}:{ADMIN}", self.ip))
            .arg(format!(
                "--containerd-socket={}",
                self.path("c.sock").display()
            ))
            .arg(format!("--content-path={}", self.path("content").display()))
            .args(["--server=http://127.0.0.1:1", "--json"])
            .args(arguments)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Starts an agent, and waits until it serves.
    pub(crate) fn agent(&self, arguments: &[&str]) -> Process {
        let ip = self.ip;
        let mut command = self.command("run");
        command
            .arg("--server=http://127.0.0.1:1")
            .arg("--advertise-address=10.0.0.1")
            .arg("--accounting=tcp-info")
            .arg(format!("--mirror-listen={}", self.mirror()))
            .arg(format!("--peer-listen={ip}:7787"))
            .arg(format!("--admin-listen={ip}:{ADMIN}"))
            .arg(format!(
                "--containerd-socket={}",
                self.path("c.sock").display()
            ))
            .arg(format!("--content-path={}", self.path("content").display()))
            .arg("--drain=2")
            .args(arguments);
        let agent = Process::start(command);
        until("the agent to serve", || {
            TcpStream::connect((ip, ADMIN)).is_ok()
        });
        agent
    }

    /// Starts `pi-agent keep-hosts`.
    pub(crate) fn keep_hosts(&self, arguments: &[&str]) -> Process {
        let mut command = self.command("keep-hosts");
        command.args(arguments);
        Process::start(command)
    }

    /// What the agent's admin endpoint says.
    pub(crate) fn admin(&self, path: &str) -> String {
        let mut stream = TcpStream::connect((self.ip, ADMIN)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// The line about the mirror files in `/readyz`.
    pub(crate) fn condition(&self) -> String {
        let page = self.admin("/readyz?verbose");
        let line = page.lines().find(|line| line.contains("]hosts "));
        line.unwrap_or_default().to_owned()
    }
}

impl Process {
    fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status();
        assert!(status.unwrap().success());
    }

    /// Asks it to end, if it has not ended yet; gives its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        if !self.has_ended() {
            self.signal("TERM");
        }
        self.0.wait().unwrap().code()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something is so; gives how long that took.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < SOON, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    begin.elapsed()
}

/// A socket that systemd would listen at.
pub(crate) fn notify_socket(path: &Path) -> std::os::unix::net::UnixDatagram {
    assert!(path.as_os_str().as_bytes().len() < 100, "too long a name");
    let socket = std::os::unix::net::UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}
