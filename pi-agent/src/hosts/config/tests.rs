//! containerd's configuration.

use std::{fs, path::Path};

use super::{ConfigError, ContainerdConfig};
use crate::hosts::{reach::Reach, release::Release};

const DIR: &str = "/etc/containerd/certs.d";

fn outcome(text: &str) -> Result<(), String> {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("config.toml");
    fs::write(&file, text).unwrap();
    let reach = Reach::read(&file, Path::new(DIR), Some(Release::new(2, 0, 5)));
    reach.map(drop).map_err(|error| error.to_string())
}

fn check(path: &Path, hosts_dir: &Path) -> Result<(), ConfigError> {
    Reach::read(path, hosts_dir, None).map(drop)
}

#[test]
fn finds_the_setting_in_each_version() {
    for text in [
        "[plugins.cri.registry]\nconfig_path = \"/etc/containerd/certs.d\"\n",
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n\
         config_path = \"/etc/containerd/certs.d\"\n",
        "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n\
         config_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n",
        "version = 2\n[plugins]\n[plugins.\"io.containerd.grpc.v1.cri\"]\n\
         registry = { config_path = \"/etc/containerd/certs.d\" }\n",
    ] {
        assert_eq!(outcome(text), Ok(()), "{text}");
    }
}

#[test]
fn says_what_to_write_where() {
    let message = outcome("disabled_plugins = []\n").unwrap_err();
    assert!(message.contains("[plugins.cri.registry]"), "{message}");
    assert!(message.contains("(version 1)"), "{message}");
    let message = outcome(
        "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"\"\n",
    );
    let message = message.unwrap_err();
    assert!(message.contains("section [plugins.\"io.containerd.grpc.v1.cri\".registry] at line 3"));
    assert!(
        message.contains("config_path = \"/etc/containerd/certs.d\""),
        "{message}"
    );
    let message = outcome("version = 3\n").unwrap_err();
    assert!(
        message.contains("[plugins.\"io.containerd.cri.v1.images\".registry]"),
        "{message}"
    );
    let message = outcome(
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n\
         endpoint = [\"https://m\"]\n",
    );
    assert!(message.unwrap_err().contains("registry.mirrors"));
}

#[test]
fn names_the_directory_that_is_in_force() {
    let message = outcome("[plugins.cri.registry]\nconfig_path = \"/other\"\n").unwrap_err();
    assert!(message.ends_with("give --hosts-dir /other"), "{message}");
}

#[test]
fn a_setting_of_another_version_does_not_count() {
    assert!(
        outcome("version = 3\n[plugins.cri.registry]\nconfig_path = \"/etc/containerd/certs.d\"\n")
            .is_err()
    );
}

#[test]
fn follows_imports() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("config.toml");
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    fs::write(&main, "version = 2\nimports = [\"conf.d/*.toml\"]\n").unwrap();
    fs::write(
        dir.path().join("conf.d/mirrors.toml"),
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/x\"\n",
    )
    .unwrap();
    check(&main, Path::new("/x")).unwrap();
}

#[test]
fn a_missing_file_is_written_out() {
    let error = check(Path::new("/nowhere/config.toml"), Path::new(DIR)).unwrap_err();
    assert!(matches!(error, ConfigError::Missing { .. }));
    let message = error.to_string();
    assert!(
        message.contains("config_path = \"/etc/containerd/certs.d\""),
        "{message}"
    );
    let error = ContainerdConfig::parse(Path::new("/x"), "[").unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { .. }));
}
