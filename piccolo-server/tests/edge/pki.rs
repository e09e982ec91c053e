//! `piccolo-server pki`: what it writes, who believes it, and what it refuses to do.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use daemon::{
    client::JsonClient,
    clock::Clock,
    tls::{Files, Mode, Peer, Role, Tls},
};
use piccolo_api::path;
use serde_json::json;
use tempfile::TempDir;

use crate::{process::program, server::Server};

const DEADLINE: Duration = Duration::from_secs(20);
const ALL: &[Role] = &[Role::Agent, Role::Server, Role::Operator, Role::Reader];
/// What makes a certificate an agent's.
const AGENT: [&str; 4] = [
    "--role=agent",
    "--group=g",
    "--node=n-1",
    "--address=10.0.0.1",
];
const DAY: Duration = Duration::from_hours(24);

/// An authority, and what it has issued, each in a directory of its name.
struct Pki(TempDir);

impl Pki {
    fn new() -> Self {
        let pki = Self(tempfile::tempdir().expect("a directory"));
        said(&pki.run("init", &[]));
        pki
    }

    fn directory(&self) -> PathBuf {
        self.0.path().join("pki")
    }

    fn run(&self, command: &str, more: &[&str]) -> Output {
        let directory = format!("--directory={}", self.directory().display());
        let mut program = program(&["pki", command, &directory]);
        program.args(more).output().expect("it runs")
    }

    /// Issues into a directory of that name.
    fn issue(&self, name: &str, more: &[&str]) -> Output {
        let out = format!("--out={}", self.of(name).display());
        self.run("issue", &[&[&*out], more].concat())
    }

    fn of(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn server(&self, more: &[&str]) {
        let role = ["--role=server", "--node=s", "--address=127.0.0.1"];
        said(&self.issue("server", &[&role, more].concat()));
    }

    fn agent(&self, more: &[&str]) {
        said(&self.issue("agent", &[&AGENT, more].concat()));
    }

    async fn start(&self, clock: Clock) -> Server {
        let database = format!("--database=sqlite:{}", self.of("db").display());
        let files = self.of("server");
        let flag = |name: &str, file: &str| format!("--tls-{name}={}", files.join(file).display());
        let files = [
            flag("cert", "tls.crt"),
            flag("key", "tls.key"),
            flag("ca", "ca.crt"),
        ];
        let mut flags = vec![&*database, "--tls=required"];
        flags.extend(files.iter().map(String::as_str));
        Server::start_at(&flags, clock).await
    }

    /// Who has the certificate of that name, and trusts the authorities beside it.
    fn caller(&self, name: &str, clock: Clock) -> Caller {
        let at = self.of(name);
        let files = Files {
            certificate: at.join("tls.crt"),
            key: at.join("tls.key"),
            authorities: at.join("ca.crt"),
            seen: None,
        };
        let tls = Tls::load(Mode::Required, Some(files), ALL, clock).expect("it can be used");
        let server = Peer {
            tls,
            role: Some(Role::Server),
            group: None,
        };
        Caller(JsonClient::of(server, DEADLINE, 4))
    }
}

struct Caller(JsonClient);

impl Caller {
    /// Tells what a node has; gives the status, or nothing where there is no connection.
    async fn sync(&self, server: &Server, holder: &str, group: &str) -> Option<u16> {
        let url = format!("http://{}{}", server.api, path::SYNC);
        let call = json!({"holder": holder, "keys": ["k"], "group": group});
        let reply = self.0.post(&url, &call, DEADLINE).await.ok()?;
        Some(reply.status.as_u16())
    }

    async fn get(&self, url: String) -> Option<u16> {
        Some(self.0.get(&url, DEADLINE).await.ok()?.status.as_u16())
    }
}

/// What a command that succeeds prints.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What one that fails prints: one line.
fn complained(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    metadata.permissions().mode() & 0o777
}

#[tokio::test]
async fn what_is_issued_is_believed_for_what_it_says() {
    let pki = Pki::new();
    pki.server(&[]);
    pki.agent(&["--address=fd00::1"]);
    for (name, role) in [("operator", "operator"), ("reader", "reader")] {
        let role = format!("--role={role}");
        said(&pki.issue(name, &[&role, "--node=a@b.example"]));
    }
    let server = pki.start(Clock::system()).await;
    let caller = |name| pki.caller(name, Clock::system());
    let agent = caller("agent");
    for (holder, group, status) in [
        ("10.0.0.1:7787", "g", 201),
        ("[fd00::1]:7787", "g", 201),
        ("10.0.0.2:7787", "g", 403),
        ("10.0.0.1:7787", "h", 403),
    ] {
        let answer = agent.sync(&server, holder, group).await;
        assert_eq!(answer, Some(status), "{holder} {group}");
    }
    let topology = || format!("http://{}{}", server.api, path::TOPOLOGY);
    let metrics = || format!("http://{}/metrics", server.admin);
    for (name, status) in [("operator", 200), ("reader", 200), ("agent", 403)] {
        let caller = caller(name);
        assert_eq!(caller.get(topology()).await, Some(status), "{name}");
        assert_eq!(caller.get(metrics()).await, Some(status), "{name}");
    }
    let operator = caller("operator");
    assert_eq!(
        operator.sync(&server, "10.0.0.1:7787", "g").await,
        Some(403)
    );
}

#[tokio::test]
async fn neither_believes_what_another_authority_issued() {
    let (pki, other) = (Pki::new(), Pki::new());
    pki.server(&[]);
    pki.agent(&[]);
    other.agent(&[]);
    let server = pki.start(Clock::system()).await;
    let agent = async |pki: &Pki| {
        let caller = pki.caller("agent", Clock::system());
        caller.sync(&server, "10.0.0.1:7787", "g").await
    };
    assert_eq!(agent(&pki).await, Some(201));
    assert_eq!(agent(&other).await, None, "it does not trust the server");
    let trusted = fs::read(pki.of("agent/ca.crt")).expect("the authority");
    fs::write(other.of("agent/ca.crt"), trusted).expect("writing");
    assert_eq!(agent(&other).await, None, "the server does not trust it");
}

#[tokio::test]
async fn neither_believes_what_has_expired() {
    let later = |days: u32| Clock::manual(Clock::system().now() + DAY * days);
    let pki = Pki::new();
    pki.server(&["--days=400"]);
    pki.agent(&[]);
    let holder = "10.0.0.1:7787";
    let server = pki.start(later(89)).await;
    let agent = pki.caller("agent", Clock::system());
    assert_eq!(agent.sync(&server, holder, "g").await, Some(201));
    drop(server);
    let server = pki.start(later(91)).await;
    let agent = pki.caller("agent", Clock::system());
    assert_eq!(agent.sync(&server, holder, "g").await, None);
    // With a new certificate it is believed.
    pki.agent(&["--replace", "--days=100"]);
    let agent = pki.caller("agent", Clock::system());
    assert_eq!(agent.sync(&server, holder, "g").await, Some(201));
    drop(server);

    pki.server(&["--replace"]);
    let server = pki.start(Clock::system()).await;
    let agent = pki.caller("agent", later(91));
    assert_eq!(agent.sync(&server, holder, "g").await, None);
}

/// As another program reads them.
#[test]
fn openssl_takes_them_for_what_they_are() {
    let pki = Pki::new();
    pki.server(&["--host=piccolo.example"]);
    pki.agent(&[]);
    let verify = |name: &str, more: &[&str]| {
        let certificate = pki.of(name).join("tls.crt");
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-CAfile"])
            .arg(pki.directory().join("ca.crt"))
            .args(more)
            .arg(certificate)
            .output();
        output.expect("openssl runs").status.success()
    };
    for purpose in ["sslclient", "sslserver"] {
        assert!(verify("server", &["-purpose", purpose]), "{purpose}");
        assert!(verify("agent", &["-purpose", purpose]), "{purpose}");
    }
    for (name, more, fits) in [
        ("server", ["-verify_ip", "127.0.0.1"], true),
        ("server", ["-verify_hostname", "piccolo.example"], true),
        ("server", ["-verify_hostname", "other.example"], false),
        ("agent", ["-verify_ip", "10.0.0.1"], true),
        ("agent", ["-verify_ip", "10.0.0.2"], false),
    ] {
        assert_eq!(verify(name, &more), fits, "{name} {more:?}");
    }
}

#[test]
fn nothing_is_overwritten_without_being_told() {
    let pki = Pki::new();
    pki.agent(&[]);
    let all = ["pki/ca.crt", "pki/ca.key", "agent/tls.crt", "agent/tls.key"];
    let read = || all.map(|file| fs::read_to_string(pki.of(file)).expect("a file"));
    let before = read();
    for (output, file) in [
        (pki.run("init", &[]), "ca.key"),
        (pki.issue("agent", &AGENT), "tls.key"),
    ] {
        let error = complained(&output);
        assert!(
            error.contains(file) && error.contains("--replace"),
            "{error}"
        );
    }
    // Also if only one of the two is there.
    fs::remove_file(pki.of("agent/tls.key")).expect("removing a file");
    let error = complained(&pki.issue("agent", &AGENT));
    assert!(error.contains("tls.crt"), "{error}");
    assert!(!pki.of("agent/tls.key").exists());
    fs::write(pki.of("agent/tls.key"), &before[3]).expect("writing");
    assert_eq!(read(), before);

    pki.agent(&["--replace"]);
    let after = read();
    assert_eq!(after[..2], before[..2]);
    assert!(after[2] != before[2] && after[3] != before[3]);
    // An authority that takes the place of another one leaves what the program trusts to its owner.
    said(&pki.run("init", &["--replace"]));
    let error = complained(&pki.issue("agent", &[&AGENT[..], &["--replace"]].concat()));
    assert!(error.contains("agent/ca.crt"), "{error}");
    assert_eq!(read()[2..], after[2..]);
    let ca = pki.of("agent/ca.crt");
    let both = [read()[0].clone(), fs::read_to_string(&ca).expect("a file")].concat();
    fs::write(&ca, &both).expect("writing");
    pki.agent(&["--replace"]);
    assert_eq!(fs::read_to_string(&ca).expect("a file"), both);
}

#[test]
fn keys_are_their_owners_only() {
    let pki = Pki::new();
    // A key that others could read is replaced by one that they cannot.
    fs::create_dir(pki.of("agent")).expect("a directory");
    fs::write(pki.of("agent/tls.key"), "x").expect("writing");
    fs::set_permissions(pki.of("agent/tls.key"), fs::Permissions::from_mode(0o666))
        .expect("a mode");
    pki.agent(&["--replace"]);
    for (file, wanted) in [
        ("pki", 0o700),
        ("pki/ca.key", 0o600),
        ("pki/ca.crt", 0o644),
        ("agent/tls.key", 0o600),
        ("agent/tls.crt", 0o644),
        ("agent/ca.crt", 0o644),
    ] {
        let mode = mode(&pki.of(file));
        // Less by the umask of who runs the tests.
        assert_eq!(mode & !wanted, 0, "{file}: {mode:o}");
        assert_eq!(mode & 0o700, wanted & 0o700, "{file}: {mode:o}");
    }
    // Nothing else is left behind.
    let names = |directory: &str| {
        let entries = fs::read_dir(pki.of(directory)).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names
            .map(|name| name.into_string().expect("text"))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("pki"), ["ca.crt", "ca.key"]);
    assert_eq!(names("agent"), ["ca.crt", "tls.crt", "tls.key"]);
}

#[test]
fn it_says_what_it_made_and_where() {
    let pki = Pki::new();
    let text = said(&pki.run("issue", &AGENT));
    assert!(
        text.starts_with("agent n-1 of group g, until 20") && text.contains("for pi-agent"),
        "{text}"
    );
    let out = pki.directory().join("agent-n-1");
    for (flag, file) in [("cert", "tls.crt"), ("key", "tls.key"), ("ca", "ca.crt")] {
        let file = out.join(file);
        assert!(file.is_file());
        let flag = format!("--tls-{flag} {}", file.display());
        assert!(text.contains(&flag), "{text}");
    }
}

#[test]
fn odd_arguments_get_clear_errors() {
    let pki = Pki::new();
    let agent = ["--role=agent", "--node=n", "--group=g"];
    let with = |more: &[&'static str]| [&agent[..], more].concat();
    let address = "--address=10.0.0.1";
    let long: &'static str = Box::leak(format!("--node={}", "n".repeat(129)).into_boxed_str());
    for (arguments, says) in [
        (vec!["--role=agent", "--node=n", address], "--group"),
        (vec!["--role=agent", "--group=g", address], "--node"),
        (with(&[]), "--address"),
        (vec!["--role=root", "--node=n"], "--role"),
        (vec!["--node=n"], "--role"),
        (with(&["--address=10.0.0.1:7787"]), "--address"),
        (with(&["--address=10.0.0.0/24"]), "--address"),
        (with(&["--address=0.0.0.0"]), "of no host"),
        (with(&["--address=::ffff:0.0.0.0"]), "of no host"),
        (with(&["--address=ff02::1"]), "of no host"),
        (with(&[address, "--days=0"]), "--days"),
        (with(&[address, "--days=-1"]), "--days"),
        (with(&[address, "--days=3651"]), "--days 364"),
        (with(&[address, "--days=9999999999"]), "--days"),
        (with(&[address, "--host=h"]), "--host"),
        (with(&[address, "--domain=a/b"]), "--domain"),
        (with(&[address, "--domain="]), "--domain"),
        (
            vec!["--role=agent", "--node=n", "--group=", address],
            "--group",
        ),
        (
            vec!["--role=agent", "--group=g", "--node=", address],
            "--node",
        ),
        (
            vec!["--role=agent", "--group=g", "--node=../n", address],
            "--node",
        ),
        (
            vec!["--role=agent", "--group=g", "--node=..", address],
            "--node",
        ),
        (
            vec!["--role=agent", "--group=g", "--node=a\n", address],
            "--node",
        ),
        (vec!["--role=agent", "--group=g", long, address], "--node"),
        (vec!["--role=server", "--node=s"], "--host"),
        (
            vec!["--role=server", "--node=s", "--host=10.0.0.1"],
            "--address",
        ),
        (vec!["--role=server", "--node=s", "--host=a b"], "--host"),
        (vec!["--role=server", "--node=s", "--host=a..b"], "--host"),
        (
            vec!["--role=server", "--node=s", address, "--group=g"],
            "--role server",
        ),
        (
            vec!["--role=operator", "--node=o", "--group=g"],
            "--role operator",
        ),
    ] {
        let error = complained(&pki.issue("odd", &arguments));
        assert!(error.contains(says), "{arguments:?}: {error}");
        assert!(!pki.of("odd").exists(), "{arguments:?}");
    }
}

#[test]
fn an_authority_that_is_none_is_said_to_be_none() {
    let pki = Pki::new();
    let issue = || {
        let role = ["--role=operator", "--node=o"];
        complained(&pki.issue("odd", &role))
    };
    let (certificate, key) = (pki.of("pki/ca.crt"), pki.of("pki/ca.key"));
    let good = fs::read(&certificate).expect("a file");
    let spoil = |file: &Path, content: &[u8], says: &str| {
        let before = fs::read(file).expect("a file");
        fs::write(file, content).expect("writing");
        let error = issue();
        assert!(error.contains(says), "{error}");
        fs::write(file, before).expect("writing");
    };
    spoil(&certificate, b"nothing", "no certificate in PEM");
    spoil(&certificate, b"\xff\xfe", "cannot be read");
    spoil(&key, b"nothing", "no private key in PEM");
    let other = Pki::new();
    let theirs = fs::read(other.of("pki/ca.key")).expect("a file");
    spoil(&key, &theirs, "is not the key of");
    pki.server(&[]);
    let leaf = fs::read(pki.of("server/tls.crt")).expect("a file");
    spoil(&certificate, &leaf, "is no authority's certificate");
    assert_eq!(fs::read(&certificate).expect("a file"), good);
    fs::remove_file(&key).expect("removing a file");
    let error = issue();
    assert!(
        error.contains("ca.key") && error.contains("pki init"),
        "{error}"
    );
}
