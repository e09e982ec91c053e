//! What the server says of files that it may not use.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Output,
};

use tempfile::TempDir;
use testbed::as_stranger;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// A directory in which nobody but root makes files.
    fn closed(&self) -> std::path::PathBuf {
        let closed = self.0.path().join("closed");
        fs::create_dir(&closed).expect("a directory");
        permit(&closed, 0o555);
        closed
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_piccolo-server"));
        as_stranger(program, self.0.path())
            .expect("a program")
            .args(arguments)
            .output()
            .expect("the server starts")
    }
}

fn permit(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

/// What it says at its end has all of this in it.
fn check(output: &Output, wanted: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    let last = said.lines().last().unwrap_or_default();
    for wanted in wanted {
        assert!(last.contains(wanted), "no {wanted:?} in: {last}");
    }
}

fn denial(path: &Path, verb: &str) -> String {
    let metadata = path.metadata().expect("it is there");
    format!(
        "may not {verb} {}, which belongs to {}:{} with mode {:04o}",
        path.display(),
        metadata.uid(),
        metadata.gid(),
        metadata.mode() & 0o7777
    )
}

#[test]
fn a_state_directory_of_another_user_is_named_with_what_is_missing() {
    let place = Place::new();
    let closed = place.closed();
    let state = format!("--state-dir={}", closed.display());
    let denied = denial(&closed, "make files in");
    let output = place.run(&[
        "serve",
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        &state,
    ]);
    check(&output, &["piccolo.sqlite", "user ", &denied]);
    check(&place.run(&["migrate", &state]), &[&denied]);
    // One that would have to be made is no other case.
    let below = format!("--state-dir={}/state", closed.display());
    check(&place.run(&["migrate", &below]), &[&denied]);
}

#[test]
fn a_database_of_another_user_is_named_with_what_is_missing() {
    let place = Place::new();
    let open = place.0.path().join("open");
    fs::create_dir(&open).expect("a directory");
    permit(&open, 0o777);
    let database = open.join("db");
    fs::write(&database, "").expect("a file");
    permit(&database, 0o444);
    let url = format!("--database=sqlite:{}", database.display());
    check(
        &place.run(&["migrate", &url]),
        &[&denial(&database, "write to")],
    );
}

#[test]
fn a_topology_file_that_may_not_be_read_is_named_with_what_is_missing() {
    let place = Place::new();
    let file = place.0.path().join("topology.yaml");
    fs::write(&file, "version: 1\n").expect("a file");
    permit(&file, 0o000);
    let output = place.run(&["topology", "check", &file.display().to_string()]);
    check(&output, &[&denial(&file, "read")]);
}

#[test]
fn a_settings_file_that_may_not_be_read_is_named_with_what_is_missing() {
    let place = Place::new();
    let file = place.0.path().join("settings.toml");
    fs::write(&file, "").expect("a file");
    permit(&file, 0o000);
    let output = place.run(&["migrate", &format!("--config={}", file.display())]);
    check(&output, &[&denial(&file, "read")]);
}
