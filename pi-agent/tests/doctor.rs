//! `pi-agent doctor` and `pi-agent status`, as an operator or a script runs them.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by it"
)]

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;

/// A node on which nothing of Piccolo runs.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("certs.d")).unwrap();
        Self(root)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let path = |name: &str| self.0.path().join(name).display().to_string();
        Command::new(env!("CARGO_BIN_EXE_pi-agent"))
            .args([
                "doctor",
                "--admin=127.0.0.1:1",
                "--server=http://127.0.0.1:1",
            ])
            .arg(format!("--containerd-socket={}", path("c.sock")))
            .arg(format!("--content-path={}", path("content")))
            .arg(format!("--hosts-dir={}", path("certs.d")))
            .arg(format!("--containerd-config={}", path("config.toml")))
            .arg("--mirror-url=http://127.0.0.1:1")
            .args(arguments)
            .output()
            .unwrap()
    }

    /// The checks by their names.
    fn checks(&self) -> Vec<Value> {
        let output = self.run(&["--json"]);
        assert_eq!(output.status.code(), Some(2), "nothing works here");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn find<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    let check = checks.iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no {name} in {checks:#?}"))
}

#[test]
fn every_check_that_fails_says_how_to_mend_it() {
    let checks = Node::new().checks();
    for name in [
        "agent",
        "containerd",
        "content store",
        "config_path",
        "hosts.toml",
        "mirror",
    ] {
        assert_ne!(find(&checks, name)["verdict"], "good", "{name}");
    }
    for check in &checks {
        let remedy = check["remedy"].as_str().unwrap();
        assert_eq!(remedy.is_empty(), check["verdict"] == "good", "{check:#}");
        assert!(!check["found"].as_str().unwrap().is_empty(), "{check:#}");
    }
    for part in ["server", "Linux", "control group"] {
        let any = checks
            .iter()
            .any(|c| c["name"].as_str().unwrap().contains(part));
        assert!(any, "nothing of {part} in {checks:#?}");
    }
}

#[test]
fn people_get_the_same_as_text() {
    let node = Node::new();
    let output = node.run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stdout).unwrap();
    for check in node.checks() {
        assert!(text.contains(check["name"].as_str().unwrap()), "{text}");
    }
    assert!(text.contains("-> "), "{text}");
}

#[test]
fn a_mirror_that_is_not_the_first_host_is_found() {
    let node = Node::new();
    let certs = node.0.path().join("certs.d").display().to_string();
    node.write(
        "config.toml",
        &format!(
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = {certs:?}\n"
        ),
    );
    let hosts = |urls: &[&str]| -> String {
        let host = |url: &&str| format!("[host.\"{url}\"]\n  capabilities = [\"pull\"]\n");
        urls.iter().map(host).collect()
    };
    let (mirror, other) = ("http://127.0.0.1:1", "https://cache.corp");
    node.write("certs.d/first.io/hosts.toml", &hosts(&[mirror, other]));
    node.write("certs.d/second.io/hosts.toml", &hosts(&[other, mirror]));
    node.write("certs.d/without.io/hosts.toml", &hosts(&[other]));
    node.write("certs.d/broken.io/hosts.toml", "[host");
    let checks = node.checks();
    for (name, verdict) in [
        ("config_path", "good"),
        ("hosts.toml of first.io", "good"),
        ("hosts.toml of second.io", "bad"),
        ("hosts.toml of without.io", "warning"),
        ("hosts.toml of broken.io", "bad"),
    ] {
        assert_eq!(find(&checks, name)["verdict"], verdict, "{name}");
    }
    let second = find(&checks, "hosts.toml of second.io");
    assert!(second["found"].as_str().unwrap().contains("number 2"));
}

#[test]
fn status_without_an_agent_fails_and_says_where_it_asked() {
    for command in ["status", "peers"] {
        let output = Command::new(env!("CARGO_BIN_EXE_pi-agent"))
            .args([command, "--admin=127.0.0.1:1", "--json"])
            .output()
            .unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("no agent answers at 127.0.0.1:1"), "{error}");
    }
}
