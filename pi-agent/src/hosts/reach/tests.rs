//! Which mirror files a release reads with a configuration, and where the agent's entry goes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Reach;
use crate::hosts::{config::ConfigError, misplaced::Misplaced};

/// A node with two directories of mirror files.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        for root in ["a", "b"] {
            fs::create_dir(node.path(root)).unwrap();
        }
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes containerd's configuration, with `@A` and `@B` for the directories.
    fn configure(&self, text: &str) {
        let a = self.path("a").display().to_string();
        let b = self.path("b").display().to_string();
        self.write("config.toml", &text.replace("@A", &a).replace("@B", &b));
    }

    fn reach(&self, hosts_dir: &str, release: &str) -> Result<Reach, ConfigError> {
        let release = release.parse().ok();
        Reach::read(&self.path("config.toml"), &self.path(hosts_dir), release)
    }

    /// Where an entry for a registry goes: the directory below the node, or why there is none.
    fn entry(&self, hosts_dir: &str, registry: &str) -> Result<String, Misplaced> {
        let reach = self.reach(hosts_dir, "1.7.24").unwrap();
        let place = reach.place(&registry.parse().unwrap())?;
        let below = place.directory().strip_prefix(self.0.path()).unwrap();
        Ok(below.display().to_string())
    }
}

const LIST: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n\
                    config_path = \"@A:@B\"\n";
const ONE: &str = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n\
                   config_path = '@A'\n";
const IMAGES: &str = "[plugins.'io.containerd.cri.v1.images']\n";

#[test]
fn a_list_is_read_by_those_who_pull_themselves() {
    let node = Node::new();
    node.configure(LIST);
    for release in ["1.6.20", "1.7.24", "2.0.5"] {
        let reach = node.reach("b", release).unwrap();
        assert_eq!(reach.roots(), [node.path("a"), node.path("b")], "{release}");
        assert_eq!(reach.doubt(), None);
    }
    for release in ["2.1.4", "2.2.0", "2.4.1"] {
        let error = node.reach("a", release).unwrap_err();
        assert!(
            matches!(error, ConfigError::Whole(_)),
            "{release}: {error:?}"
        );
        let message = error.to_string();
        let line = format!("config_path = {:?}", node.path("a").display().to_string());
        assert!(message.contains(&line), "{message}");
        assert!(message.contains("use_local_image_pull = true"), "{message}");
    }
    // A containerd that does not answer may be of any release.
    assert!(node.reach("a", "").unwrap().doubt().is_some());
}

#[test]
fn what_only_the_plugin_can_do_has_it_pull() {
    let node = Node::new();
    for setting in [
        "use_local_image_pull = true",
        "discard_unpacked_layers = true",
        "disable_snapshot_annotations = false",
        "max_concurrent_downloads = 5",
        "image_pull_with_sync_fs = true",
    ] {
        node.configure(&format!(
            "version = 3\n{IMAGES}{setting}\nregistry = {{ config_path = '@A:@B' }}\n"
        ));
        let reach = node.reach("b", "2.1.4").unwrap();
        assert_eq!(reach.roots().len(), 2, "{setting}");
        assert_eq!(reach.discards(), setting.starts_with("discard"));
    }
    for setting in [
        "use_local_image_pull = false",
        "discard_unpacked_layers = false",
        "max_concurrent_downloads = 3",
    ] {
        node.configure(&format!(
            "version = 3\n{IMAGES}{setting}\nregistry = {{ config_path = '@A:@B' }}\n"
        ));
        assert!(node.reach("b", "2.1.4").is_err(), "{setting}");
    }
}

/// containerd 2.x takes `containerd` out of an older file only with runtimes in it.
#[test]
fn a_setting_that_a_newer_release_leaves_behind_does_not_count() {
    let node = Node::new();
    let table =
        "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\ndiscard_unpacked_layers = true\n";
    node.configure(&format!("{LIST}{table}"));
    assert!(node.reach("a", "1.7.24").unwrap().discards());
    assert!(!node.reach("a", "2.0.5").unwrap().discards());
    assert!(node.reach("a", "2.1.9").is_err());
    node.configure(&format!("{LIST}{table}runtimes = {{ runc = {{}} }}\n"));
    assert!(node.reach("a", "2.1.9").unwrap().discards());
}

#[test]
fn one_directory_is_read_by_all() {
    let node = Node::new();
    node.configure(ONE);
    for release in ["2.0.5", "2.1.4", "2.3.0", ""] {
        let reach = node.reach("a", release).unwrap();
        assert_eq!((reach.roots().len(), reach.doubt()), (1, None));
        let error = node.reach("b", release).unwrap_err();
        assert!(matches!(error, ConfigError::Elsewhere { .. }), "{error:?}");
    }
}

#[test]
fn newer_releases_have_two_directories_where_nothing_is_set() {
    let node = Node::new();
    let dir = Path::new("/etc/containerd/certs.d");
    let read = |release: &str| Reach::read(&node.path("none"), dir, release.parse().ok());
    assert!(matches!(read("2.1.4"), Err(ConfigError::Missing { .. })));
    assert!(matches!(read("2.2.1"), Err(ConfigError::Whole(_))));
    node.configure("version = 3\n");
    let read = |release: &str| Reach::read(&node.path("config.toml"), dir, release.parse().ok());
    assert!(matches!(read("2.1.4"), Err(ConfigError::NotSet(_))));
    assert!(matches!(read("2.2.1"), Err(ConfigError::Whole(_))));
    node.configure(&format!(
        "version = 3\n{IMAGES}use_local_image_pull = true\n"
    ));
    let roots = read("2.2.1").unwrap().roots().to_vec();
    assert_eq!(roots, [dir, Path::new("/etc/docker/certs.d")]);
}

#[test]
fn the_section_of_2_x_counts_in_an_older_file_for_2_x_only() {
    let node = Node::new();
    node.configure(&ONE.replace("version = 3", "version = 2"));
    assert!(node.reach("a", "2.1.4").is_ok());
    assert!(node.reach("a", "1.7.24").is_err());
}

#[test]
fn an_entry_goes_where_it_is_found_and_hides_nothing() {
    let node = Node::new();
    node.configure(LIST);
    assert_eq!(node.entry("a", "_default").unwrap(), "a/_default");
    assert_eq!(node.entry("b", "_default").unwrap(), "b/_default");
    assert_eq!(node.entry("a", "quay.io").unwrap(), "a/quay.io");

    // What the operator says of a registry in the second.
    node.write("b/r.corp_5000_/ca.crt", "pem");
    for registry in ["_default", "r.corp:5000"] {
        let error = node.entry("a", registry).unwrap_err();
        assert!(matches!(error, Misplaced::Hides { .. }), "{error:?}");
        let advice = format!("give --hosts-dir {}", node.path("b").display());
        assert!(error.to_string().ends_with(&advice), "{error}");
    }
    assert_eq!(node.entry("a", "quay.io").unwrap(), "a/quay.io");
    assert_eq!(node.entry("b", "_default").unwrap(), "b/_default");
    assert_eq!(node.entry("b", "r.corp:5000").unwrap(), "b/r.corp_5000_");

    // The first knows the registry too, so that nothing is hidden.
    fs::create_dir(node.path("a/r.corp:5000")).unwrap();
    assert_eq!(node.entry("a", "_default").unwrap(), "a/_default");
    assert_eq!(node.entry("a", "r.corp:5000").unwrap(), "a/r.corp:5000");
    let error = node.entry("b", "r.corp:5000").unwrap_err();
    assert!(matches!(error, Misplaced::Behind { .. }), "{error:?}");
}

#[test]
fn behind_a_default_nothing_is_found() {
    let node = Node::new();
    node.configure(LIST);
    node.write("a/_default/hosts.toml", "[host.\"https://cache.corp\"]\n");
    for registry in ["_default", "quay.io"] {
        let error = node.entry("b", registry).unwrap_err();
        assert!(matches!(error, Misplaced::Behind { .. }), "{error:?}");
        let advice = format!("give --hosts-dir {}", node.path("a").display());
        assert!(error.to_string().ends_with(&advice), "{error}");
    }
    // The operator's own hides what it hid before.
    node.write("b/r.corp/ca.crt", "pem");
    assert_eq!(node.entry("a", "_default").unwrap(), "a/_default");
    assert_eq!(node.entry("a", "r.corp").unwrap(), "a/r.corp");
}

#[test]
fn a_snap_has_two_names_for_its_data() {
    let node = Node::new();
    let read = |dir: &str| {
        let config = node.path("config.toml");
        Reach::read(&config, Path::new(dir), "1.7.24".parse().ok()).is_ok()
    };
    node.configure(&LIST.replace("@A:@B", "/var/snap/microk8s/8355/args/certs.d"));
    assert!(read("/var/snap/microk8s/current/args/certs.d"));
    assert!(!read("/var/snap/microk8s/common/args/certs.d"));
    assert!(!read("/var/snap/other/current/args/certs.d"));
}

#[test]
fn old_releases_are_told_of_each_registry() {
    let node = Node::new();
    node.configure(LIST);
    let reach = node.reach("a", "1.6.8").unwrap();
    let error = reach.place(&"_default".parse().unwrap()).unwrap_err();
    assert!(matches!(error, Misplaced::NoDefault), "{error:?}");
    assert!(reach.place(&"quay.io".parse().unwrap()).is_ok());
}
