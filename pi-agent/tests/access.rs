//! What the agent's commands say of files that they may not use.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by it"
)]

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::Path,
};

use testbed::as_stranger;

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A stranger's try says who may not do what, and where.
fn check(directory: &Path, arguments: &[String], verb: &str, place: &Path) {
    let program = Path::new(env!("CARGO_BIN_EXE_pi-agent"));
    let mut command = as_stranger(program, directory).unwrap();
    let output = command.args(arguments).output().unwrap();
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let metadata = place.metadata().unwrap();
    let denied = format!(
        "may not {verb} {}, which belongs to {}:{} with mode {:04o}",
        place.display(),
        metadata.uid(),
        metadata.gid(),
        metadata.mode() & 0o7777
    );
    assert!(said.contains(&denied), "no {denied:?} in:\n{said}");
}

#[test]
fn a_hosts_directory_of_another_user_is_named_with_what_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let hosts = root.path().join("certs.d");
    fs::create_dir(&hosts).unwrap();
    permit(&hosts, 0o555);
    let arguments = [
        "configure".to_owned(),
        "--force".to_owned(),
        format!("--hosts-dir={}", hosts.display()),
        format!("--containerd-config={}", root.path().join("none").display()),
    ];
    check(root.path(), &arguments, "make files in", &hosts);
    // The directory of a registry that is there already.
    let of_all = hosts.join("_default");
    permit(&hosts, 0o755);
    fs::create_dir(&of_all).unwrap();
    permit(&of_all, 0o555);
    check(root.path(), &arguments, "make files in", &of_all);
}

#[test]
fn a_configuration_that_may_not_be_read_is_named_with_what_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("config.toml");
    fs::write(&config, "version = 2\n").unwrap();
    permit(&config, 0o000);
    let arguments = [
        "configure".to_owned(),
        format!("--hosts-dir={}", root.path().display()),
        format!("--containerd-config={}", config.display()),
    ];
    check(root.path(), &arguments, "read", &config);
}

#[test]
fn a_socket_of_another_user_is_named_with_what_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("c.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    permit(&socket, 0o400);
    let arguments = [
        "doctor".to_owned(),
        "--admin=127.0.0.1:1".to_owned(),
        format!("--containerd-socket={}", socket.display()),
        format!("--hosts-dir={}", root.path().display()),
        format!("--containerd-config={}", root.path().join("none").display()),
    ];
    check(root.path(), &arguments, "write to", &socket);
}

/// What keeps a process without the capability from the agent's place.
#[test]
fn the_mirrors_port_takes_a_capability_and_who_lacks_it_is_told() {
    let root = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_pi-agent"));
    let mut command = as_stranger(program, root.path()).unwrap();
    command.args([
        "run",
        "--server=http://127.0.0.1:1",
        "--advertise-address=10.0.0.1",
        "--accounting=tcp-info",
        "--peer-listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
    ]);
    let hosts = format!("--hosts-dir={}", root.path().display());
    let output = command.arg(hosts).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    for word in [
        "port 288",
        "CAP_NET_BIND_SERVICE",
        "setcap",
        "--mirror-listen 127.0.0.1:7788",
        "Permission denied",
    ] {
        assert!(said.contains(word), "no {word:?} in:\n{said}");
    }
}
