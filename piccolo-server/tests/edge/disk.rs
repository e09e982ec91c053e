//! The disk below SQLite's file fills up, and has room again.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use piccolo_api::path;
use serde_json::json;

use crate::{process::Process, raw::exchange, server::eventually};

const DEADLINE: Duration = Duration::from_mins(1);

/// A server whose database is on a small file system of its own, that ends with it.
struct Small {
    server: Process,
    /// The file system, as seen from here.
    seen: PathBuf,
}

impl Small {
    fn start(place: &Path) -> Self {
        let place = place.display().to_string();
        let script = "mount -t tmpfs -o size=8m tmpfs \"$1\" && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        let namespaces = ["--user", "--map-root-user", "--mount"];
        command
            .args(namespaces)
            .args(["--", "sh", "-c", script, "sh", &place]);
        command.arg(env!("CARGO_BIN_EXE_piccolo-server"));
        let file = format!("sqlite:{place}/piccolo.db");
        let server = Process::start_by(command, &["--database", &file]);
        let seen = format!("/proc/{}/root{place}", server.id());
        Self {
            server,
            seen: seen.into(),
        }
    }

    /// Leaves no byte free.
    fn fill(&self) -> PathBuf {
        let path = self.seen.join("filler");
        let mut file = File::create(&path).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
        path
    }

    async fn advertise(&self, number: u32) -> String {
        // Many pages of the file, so that none of those it has is free for long.
        let keys: Vec<_> = (0..500).map(|key| format!("{number}-{key}")).collect();
        let call = json!({"holder": "10.0.0.1:1", "keys": keys, "group": "g"}).to_string();
        let (length, path) = (call.len(), path::ADVERTISE);
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
            content-type: application/json\r\ncontent-length: {length}\r\n\r\n{call}"
        );
        exchange(self.server.api, &request).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_once_a_full_disk_has_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let small = Small::start(directory.path());
    assert!(small.advertise(0).await.starts_with("HTTP/1.1 201"));
    for round in 1..=2 {
        let filler = small.fill();
        let begin = Instant::now();
        let mut taken = 0;
        let refusal = loop {
            let reply = small.advertise(round * 1000 + taken).await;
            if !reply.starts_with("HTTP/1.1 201") {
                break reply;
            }
            taken += 1;
            assert!(begin.elapsed() < DEADLINE, "the disk does not fill up");
        };
        // Callers come again.
        assert!(refusal.starts_with("HTTP/1.1 503"), "{refusal}");
        assert!(refusal.to_lowercase().contains("retry-after:"), "{refusal}");
        assert_eq!(small.server.find("0-0").await, Some(200));
        eventually("it says so, and stays ready", async || {
            // What it cannot write down is noticed.
            let alive = json!({"host": "10.0.0.1:1", "Group": "g"});
            let _ = small.server.post(path::KEEPALIVE, &alive).await;
            let (status, page) = small.server.admin("/readyz?verbose").await;
            status == 200 && page.contains("[!]database default degraded: ")
        })
        .await;
        fs::remove_file(filler).expect("room");
        // The next write, not one after a while.
        let reply = small.advertise(round * 1000 + taken).await;
        assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
        for number in 0..=taken {
            let key = format!("{}-0", round * 1000 + number);
            assert_eq!(small.server.find(&key).await, Some(200), "{key}");
        }
        eventually("it says so", async || {
            let (_, page) = small.server.admin("/readyz?verbose").await;
            page.contains("[+]database default ok")
        })
        .await;
    }
}
