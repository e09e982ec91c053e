//! A node that replaces its directory of mirror files while a container has the old one mounted.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::{Run, binary, wait_until};

/// Well before a look that no event has caused.
const ENDED: Duration = Duration::from_secs(20);
const NOBODY: &str = "http://127.0.0.1:1";

/// A process that sees the node's directories where a pod of the chart would.
struct Inside(Child);

impl Drop for Inside {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The node's directory, and the program in a mount namespace that has the directory mounted at another
/// path. Nothing of this is seen outside.
fn inside(run: &Run, arguments: &str) -> Result<(PathBuf, Inside)> {
    let (node, seen) = (run.make_directory("node")?, run.make_directory("seen")?);
    // Its end is an event, so that nobody waits for the next look.
    let place = node.join("_default");
    fs::create_dir(&place)?;
    fs::write(place.join("hosts.toml"), "")?;
    let config = run.directory().join("config.toml");
    let text = format!(
        "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = {:?}\n",
        seen.display().to_string()
    );
    fs::write(&config, text).context("writing containerd's settings")?;
    let script = format!(
        "mount --bind {node} {seen} && exec {program} {arguments}",
        node = node.display(),
        seen = seen.display(),
        program = binary("pi-agent")?.display(),
    );
    let process = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .env("PI_AGENT_HOSTS_DIR", &seen)
        .env("PI_AGENT_CONTAINERD_CONFIG", &config)
        .env(
            "PI_AGENT_CONTAINERD_SOCKET",
            run.directory().join("none.sock"),
        )
        .env("PI_AGENT_CONTENT_PATH", run.directory())
        .env("PI_AGENT_MIRROR_URL", NOBODY)
        .stderr(Stdio::from(fs::File::create(log(run))?))
        .spawn()
        .context("starting pi-agent")?;
    Ok((node, Inside(process)))
}

fn log(run: &Run) -> PathBuf {
    run.directory().join("pi-agent.log")
}

/// It ends, so that its container is started again and gets the new directory.
fn ends_when_replaced(arguments: &str) -> Result<()> {
    let run = Run::start()?;
    let (node, mut process) = inside(&run, arguments)?;
    let said = |words: &str| anyhow::Ok(fs::read_to_string(log(&run))?.contains(words));
    wait_until("the program to look at the directory", ENDED, || {
        Ok(said("looking after the mirror files")?.then_some(()))
    })?;
    fs::remove_dir_all(&node)?;
    fs::create_dir(&node)?;
    let status = wait_until("the program to end", ENDED, || Ok(process.0.try_wait()?));
    let log = fs::read_to_string(log(&run))?;
    let status = status.with_context(|| log.clone())?;
    ensure!(status.code() == Some(1), "it ended with {status}: {log}");
    ensure!(said("the node has replaced the directory")?, "{log}");
    Ok(())
}

#[test]
fn who_keeps_the_files_gets_the_new_directory() -> Result<()> {
    ends_when_replaced("keep-hosts")
}

#[test]
fn the_agent_gets_the_new_directory() -> Result<()> {
    ends_when_replaced(
        "run --hosts=watch --server=http://127.0.0.1:1 --accounting=off \
         --advertise-address=192.0.2.1 --mirror-listen=127.0.0.1:0 --peer-listen=127.0.0.1:0 \
         --admin-listen=127.0.0.1:0",
    )
}
