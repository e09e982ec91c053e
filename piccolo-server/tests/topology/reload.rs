//! The file changes under the running server.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::program::{Program, pause};

/// The issue gives it two seconds.
const RELOAD: Duration = Duration::from_secs(2);

const RELOADS: &str = "piccolo_server_topology_reloads_total";
const REFUSED: &str = "piccolo_server_topology_file_refused";

fn file(rack: &str) -> String {
    format!("tree:\n  - name: {rack}\n    cidrs: [10.0.0.0/16]\n")
}

/// A directory as kubelet mounts a ConfigMap.
struct Mount {
    directory: PathBuf,
    version: u32,
}

impl Mount {
    fn new(directory: &Path, text: &str) -> Self {
        let directory = directory.join("mount");
        fs::create_dir(&directory).unwrap();
        let mut mount = Self {
            directory,
            version: 0,
        };
        mount.put(text);
        symlink("..data/topology.yaml", mount.path()).unwrap();
        mount
    }

    fn path(&self) -> PathBuf {
        self.directory.join("topology.yaml")
    }

    fn flag(&self) -> String {
        format!("--topology={}", self.path().display())
    }

    /// Swaps the contents as kubelet does: a new directory, then its link renamed over the old.
    fn put(&mut self, text: &str) {
        self.version += 1;
        let name = format!("..{}", self.version);
        fs::create_dir(self.directory.join(&name)).unwrap();
        fs::write(self.directory.join(&name).join("topology.yaml"), text).unwrap();
        let temporary = self.directory.join("..data_tmp");
        symlink(&name, &temporary).unwrap();
        fs::rename(temporary, self.directory.join("..data")).unwrap();
        let old = self.directory.join(format!("..{}", self.version - 1));
        let _ = fs::remove_dir_all(old);
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !done().await {
        assert!(begin.elapsed() < RELOAD, "waited too long for {what}");
        pause().await;
    }
}

#[tokio::test]
async fn a_config_map_swap_is_followed_and_a_broken_file_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let mut mount = Mount::new(state.path(), &file("first"));
    let server = Program::start(state.path(), &[&mount.flag()]).ready().await;
    let rack = async || server.rack("10.0.0.1").await;
    assert_eq!(rack().await, "first");

    mount.put(&file("second"));
    until("the swap", async || rack().await == "second").await;

    mount.put("tree:\n  - name: third\n    cidrs: [10.0.0.0/99]\n");
    until("the refusal", async || server.metric(REFUSED).await > 0.0).await;
    assert_eq!(rack().await, "second");
    assert!(
        (server
            .metric(&format!("{RELOADS}{{outcome=\"bad\"}}"))
            .await
            - 1.0)
            .abs()
            < 1e-9
    );
    let verbose = server.page("/readyz?verbose").await;
    assert!(verbose.contains("[!]topology degraded"), "{verbose}");
    assert!(verbose.contains("10.0.0.0/99"), "{verbose}");
    assert!(verbose.ends_with("ready\n") && !verbose.contains("not ready"));

    mount.put(&file("third"));
    until("the mended file", async || rack().await == "third").await;
    assert!(server.metric(REFUSED).await.abs() < 1e-9);
    assert!(
        (server
            .metric(&format!("{RELOADS}{{outcome=\"good\"}}"))
            .await
            - 3.0)
            .abs()
            < 1e-9
    );
    let verbose = server.page("/readyz?verbose").await;
    assert!(verbose.contains("[+]topology ok: 1 places"), "{verbose}");
}

#[tokio::test]
async fn a_file_that_is_written_or_renamed_in_place_is_followed() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("topology.yaml");
    let flag = format!("--topology={}", path.display());
    // Missing at first: racks are guessed, and it is there once it appears.
    let server = Program::start(state.path(), &[&flag]).ready().await;
    let rack = async || server.rack("10.0.0.1").await;
    assert_eq!(rack().await, "10.0.0.0/24");
    assert!(server.metric(REFUSED).await > 0.0);
    fs::write(&path, file("written")).unwrap();
    until("the file", async || rack().await == "written").await;
    fs::write(state.path().join("new"), file("renamed")).unwrap();
    fs::rename(state.path().join("new"), &path).unwrap();
    until("the rename", async || rack().await == "renamed").await;
}

#[tokio::test]
async fn a_hangup_reads_the_file_and_never_ends_the_server() {
    let state = tempfile::tempdir().unwrap();
    let mount = Mount::new(state.path(), &file("first"));
    let server = Program::start(state.path(), &[&mount.flag()]).ready().await;
    server.signal("HUP");
    let good = format!("{RELOADS}{{outcome=\"good\"}}");
    until("the reload", async || server.metric(&good).await > 1.5).await;

    let other = tempfile::tempdir().unwrap();
    let without = Program::start(other.path(), &[]).ready().await;
    without.signal("HUP");
    pause().await;
    assert_eq!(without.rack("10.0.0.1").await, "10.0.0.0/24");
}

#[tokio::test]
async fn finds_never_fail_during_a_reload() {
    let state = tempfile::tempdir().unwrap();
    let mut mount = Mount::new(state.path(), &file("first"));
    let server = Program::start(state.path(), &[&mount.flag()]).ready().await;
    for host in 1..=5 {
        server
            .advertise(&format!("10.0.1.{host}:7787"), &["k"])
            .await;
    }
    for round in 0..10 {
        let text = if round % 3 == 2 {
            "tree: broken".to_owned()
        } else {
            file(&format!("r{round}"))
        };
        mount.put(&text);
        for host in 1..=10 {
            let found = server.ranked("k", &format!("10.0.2.{host}"), 100).await;
            assert_eq!(found.len(), 5);
            pause().await;
        }
    }
    assert!(
        server
            .metric(&format!("{RELOADS}{{outcome=\"good\"}}"))
            .await
            > 1.5
    );
}
