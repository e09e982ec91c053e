//! `pi-agent configure`, as an operator runs it.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by it"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

struct Bed {
    root: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("certs.d")).unwrap();
        Self { root }
    }

    fn with_config(self) -> Self {
        let text = format!(
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = {:?}\n",
            self.dir().display().to_string()
        );
        fs::write(self.root.path().join("config.toml"), text).unwrap();
        self
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("certs.d")
    }

    fn file(&self, registry: &str) -> PathBuf {
        self.dir().join(registry).join("hosts.toml")
    }

    fn write(&self, registry: &str, text: &str) {
        fs::create_dir_all(self.dir().join(registry)).unwrap();
        fs::write(self.file(registry), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pi-agent"))
            .arg("configure")
            .env("PI_AGENT_HOSTS_DIR", self.dir())
            .arg("--containerd-config")
            .arg(self.root.path().join("config.toml"))
            .arg("--containerd-socket")
            .arg(self.root.path().join("none.sock"))
            .args(arguments)
            .output()
            .unwrap()
    }

    fn succeed(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Every file and directory under `certs.d`.
    fn tree(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
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
}

const OPERATORS: &str = "# by hand\nserver = \"https://quay.io\"\n\n[host.\"https://cache.corp\"]\n  \
                         ca = \"/etc/ssl/corp.crt\"\n  [host.\"https://cache.corp\".header]\n    \
                         x-team = [\"infra\"]";

#[test]
fn writes_keeps_and_restores() {
    let bed = Bed::new().with_config();
    bed.write("quay.io", OPERATORS);
    fs::create_dir(bed.dir().join("empty.example")).unwrap();
    let before = bed.tree();
    let registries = ["--registry", "_default,quay.io,empty.example,docker.io"];
    bed.succeed(&registries);
    let after = bed.tree();
    let quay = fs::read_to_string(bed.file("quay.io")).unwrap();
    assert!(
        quay.find("[host.\"http://127.0.0.1:288\"]") < quay.find("[host.\"https://cache.corp\"]")
    );
    assert!(quay.contains("x-team = [\"infra\"]"));
    assert!(bed.file("_default").exists());
    bed.succeed(&registries);
    assert_eq!(bed.tree(), after, "a second time changes nothing");
    bed.succeed(&[&registries[..], &["--remove"]].concat());
    assert_eq!(bed.tree(), before, "restored to the byte");
    bed.succeed(&[&registries[..], &["--remove"]].concat());
    assert_eq!(bed.tree(), before);
}

/// containerd takes `_default` for registries without a directory only.
/// What is left of a process that was killed while it wrote is used, or goes with the agent.
#[test]
fn what_a_killed_writer_left_goes() {
    let bed = Bed::new().with_config();
    bed.write("quay.io", OPERATORS);
    let before = bed.tree();
    let leave = |registry: &str| {
        let left = bed.dir().join(format!(".{registry}.pi-agent"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("hosts.toml"), "half").unwrap();
    };
    leave("ghcr.io");
    bed.succeed(&["--registry", "_default,quay.io,ghcr.io"]);
    assert!(!bed.dir().join(".ghcr.io.pi-agent").exists());
    leave("docker.io");
    for registry in ["quay.io", "ghcr.io"] {
        let half = bed.dir().join(registry).join(".hosts.toml.pi-agent");
        fs::write(half, "half").unwrap();
    }
    let all = "_default,quay.io,ghcr.io,docker.io";
    bed.succeed(&["--registry", all, "--remove"]);
    assert_eq!(bed.tree(), before);
}

/// containerd never finds a registry's directory without its file, which would keep it from
/// `_default`.
#[test]
fn a_directory_and_its_file_come_and_go_together() {
    let bed = Bed::new().with_config();
    let (directory, file) = (bed.dir().join("docker.io"), bed.file("docker.io"));
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut bare = 0;
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                if directory.exists() && !file.exists() && directory.exists() {
                    bare += 1;
                }
            }
            bare
        });
        for _ in 0..10 {
            bed.succeed(&["--registry", "docker.io"]);
            bed.succeed(&["--registry", "docker.io", "--remove"]);
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(looking.join().unwrap(), 0, "looks that found no file");
    });
}

#[test]
fn what_is_set_for_all_registries_stays_in_force_for_one() {
    let bed = Bed::new().with_config();
    bed.write("_default", OPERATORS);
    let before = bed.tree();
    let ones = ["--registry", "docker.io,quay.io:8443"];
    bed.succeed(&ones);
    let text = fs::read_to_string(bed.file("docker.io")).unwrap();
    let agent = text.find("[host.\"http://127.0.0.1:288\"]");
    assert!(agent < text.find("[host.\"https://cache.corp\"]") && agent.is_some());
    assert!(text.starts_with("# by hand\nserver = \"https://quay.io\"\n"));
    assert!(text.contains("x-team = [\"infra\"]"), "{text}");
    let after = bed.tree();
    bed.succeed(&ones);
    assert_eq!(bed.tree(), after, "a second time changes nothing");
    bed.succeed(&[&ones[..], &["--remove"]].concat());
    assert_eq!(bed.tree(), before, "restored to the byte");

    // Whichever is written first, and with the agent's own block in it.
    bed.succeed(&["--registry", "_default,docker.io"]);
    let copy = fs::read_to_string(bed.file("docker.io")).unwrap();
    assert_eq!(copy, text);
    // The copy follows what it is a copy of ...
    let newer = OPERATORS.replace("infra", "core");
    bed.write("_default", &newer);
    bed.succeed(&["--registry", "docker.io"]);
    let copy = fs::read_to_string(bed.file("docker.io")).unwrap();
    assert_eq!(copy.replace("core", "infra").len(), text.len());
    assert!(copy.contains("core"), "{copy}");
    // ... until somebody edits it: then it is that one's.
    let edited = copy.replace("core", "edge");
    bed.write("docker.io", &edited);
    bed.succeed(&["--registry", "docker.io"]);
    assert_eq!(fs::read_to_string(bed.file("docker.io")).unwrap(), edited);
    bed.succeed(&["--registry", "docker.io", "--remove"]);
    let left = fs::read_to_string(bed.file("docker.io")).unwrap();
    assert_eq!(left, OPERATORS.replace("infra", "edge") + "\n");
}

#[test]
fn a_copy_that_would_not_find_its_certificates_is_not_made() {
    let bed = Bed::new().with_config();
    let text = "[host.\"https://cache.corp\"]\n  client = [[\"c.cert\", \"/etc/c.key\"]]\n";
    bed.write("_default", text);
    let before = bed.tree();
    let output = bed.run(&["--registry", "docker.io"]);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("\"c.cert\" relative to"), "{message}");
    assert_eq!(bed.tree(), before);
}

#[test]
fn certificates_stay_in_force() {
    let bed = Bed::new().with_config();
    let dir = bed.dir().join("registry.corp:5000");
    fs::create_dir(&dir).unwrap();
    for name in ["ca.crt", "client.cert", "client.key"] {
        fs::write(dir.join(name), "pem").unwrap();
    }
    // containerd takes an empty file for none.
    for file in [None, Some("")] {
        if let Some(text) = file {
            fs::write(bed.file("registry.corp:5000"), text).unwrap();
        }
        let before = bed.tree();
        for _ in 0..2 {
            bed.succeed(&["--registry", "registry.corp:5000"]);
            let text = fs::read_to_string(bed.file("registry.corp:5000")).unwrap();
            assert!(text.starts_with("ca = ["), "{file:?}: {text}");
            assert!(text.contains("client.cert\", \""), "{file:?}: {text}");
        }
        bed.succeed(&["--registry", "registry.corp:5000", "--remove"]);
        assert_eq!(bed.tree(), before);
    }
}

#[test]
fn certificates_for_all_stay_in_force_beside_an_empty_file() {
    let bed = Bed::new().with_config();
    let dir = bed.dir().join("_default");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("ca.crt"), "pem").unwrap();
    fs::write(dir.join("hosts.toml"), "").unwrap();
    let before = bed.tree();
    bed.succeed(&["--registry", "registry.corp:5000,_default"]);
    for registry in ["registry.corp:5000", "_default"] {
        let text = fs::read_to_string(bed.file(registry)).unwrap();
        assert!(text.starts_with("ca = ["), "{registry}: {text}");
    }
    bed.succeed(&["--registry", "registry.corp:5000,_default", "--remove"]);
    assert_eq!(bed.tree(), before);
}

#[test]
fn refuses_where_containerd_would_not_look() {
    let bed = Bed::new();
    let output = bed.run(&[]);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("nothing was written"), "{message}");
    assert!(message.contains("config_path = "), "{message}");
    assert!(bed.tree().is_empty());
    bed.succeed(&["--force"]);
    assert!(bed.file("_default").exists());
}

/// A `config_path` of two directories, as EKS has it; the operator's registry is in the second.
#[test]
fn with_two_directories_no_registry_of_the_operators_is_hidden() {
    let bed = Bed::new();
    let second = bed.root.path().join("docker");
    let list = format!("{}:{}", bed.dir().display(), second.display());
    let text = format!(
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nmax_concurrent_downloads = 5\n\
         registry = {{ config_path = {list:?} }}\n"
    );
    fs::write(bed.root.path().join("config.toml"), text).unwrap();
    bed.succeed(&[]);
    assert!(bed.file("_default").exists());
    // An entry of another tool that comes later is not hidden either: ours is removed.
    let registry = second.join("registry.corp");
    fs::create_dir_all(&registry).unwrap();
    fs::write(registry.join("ca.crt"), "pem").unwrap();
    let output = bed.run(&[]);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let hidden = registry.display().to_string();
    assert!(message.contains(&hidden), "{message}");
    assert!(!bed.file("_default").exists(), "{message}");
    // What it says does it.
    let advice = format!("give --hosts-dir {}", second.display());
    assert!(message.contains(&advice), "{message}");
    let second = second.display().to_string();
    let both = [
        "--hosts-dir",
        &second,
        "--registry",
        "_default,registry.corp",
    ];
    bed.succeed(&both);
    let text = fs::read_to_string(registry.join("hosts.toml")).unwrap();
    assert!(
        text.starts_with("ca = [") && text.contains("127.0.0.1:288"),
        "{text}"
    );
    // Nobody would look there behind a _default in the first.
    bed.write("_default", OPERATORS);
    let output = bed.run(&both);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("would never ask the agent"), "{message}");
}

/// Only containerd itself says which release it is.
#[test]
fn says_when_it_cannot_tell_whether_a_list_is_read() {
    let bed = Bed::new();
    let list = format!("{}:/nowhere", bed.dir().display());
    let text = format!(
        "version = 3\n[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = {list:?}\n"
    );
    fs::write(bed.root.path().join("config.toml"), text).unwrap();
    let output = bed.run(&[]);
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("If it is 2.1 or later"), "{told}");
}

#[test]
fn one_bad_file_does_not_keep_the_others_back() {
    let bed = Bed::new().with_config();
    bed.write("broken.example", "[host");
    let output = bed.run(&["--registry", "broken.example,good.example"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no valid TOML"));
    assert!(bed.file("good.example").exists());
    assert_eq!(
        fs::read_to_string(bed.file("broken.example")).unwrap(),
        "[host"
    );
}

#[test]
fn a_slip_names_the_nearest_flag() {
    let bed = Bed::new();
    let output = bed.run(&["--registy", "x"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--registry"));
    let output = bed.run(&["--registry", "https://quay.io"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("without scheme"));
}

#[test]
fn a_mirror_that_containerd_could_not_read_is_refused() {
    let bed = Bed::new().with_config();
    let before = bed.tree();
    let output = bed.run(&["--mirror-url", "http://[::1]:288"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot read an IPv6 address"), "{said}");
    assert_eq!(bed.tree(), before);
}

#[test]
fn the_refusal_names_file_section_and_line() {
    let bed = Bed::new();
    let file = bed.root.path().join("config.toml");
    for (config, section, place) in [
        (
            "[plugins.cri.registry]\n",
            "[plugins.cri.registry]",
            "at line 1",
        ),
        (
            "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n",
            "[plugins.\"io.containerd.grpc.v1.cri\".registry]",
            "at line 3",
        ),
        (
            "version = 3\n",
            "[plugins.\"io.containerd.cri.v1.images\".registry]",
            "At the end of",
        ),
    ] {
        fs::write(&file, config).unwrap();
        let output = bed.run(&[]);
        assert!(!output.status.success());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = format!("config_path = {:?}", bed.dir().display().to_string());
        for part in [section, place, &*line, &*file.display().to_string()] {
            assert!(message.contains(part), "no {part:?} in {message}");
        }
        assert!(bed.tree().is_empty(), "nothing was written");
        // What it says is right.
        let mended = if place == "At the end of" {
            format!("{config}\n{section}\n  {line}\n")
        } else {
            config.replace(section, &format!("{section}\n  {line}"))
        };
        fs::write(&file, mended).unwrap();
        bed.succeed(&[]);
        bed.succeed(&["--remove"]);
    }
}
