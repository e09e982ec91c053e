//! An agent with the usual paths on a node whose distribution has others.

use std::os::unix::net::UnixListener;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use testbed::{Run, binary};

const K3S: &str = "/run/k3s/containerd/containerd.sock";

/// Runs the agent's program where `/run` and `/var/lib` are those of a node with K3s.
fn on_k3s(arguments: &str) -> Result<String> {
    let run = Run::start()?;
    let directory = run.make_directory("k3s")?;
    let _socket = UnixListener::bind(directory.join("containerd.sock"))?;
    // Nothing of this is seen outside: the mounts are this process's own.
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/k3s/containerd && \
         mount --bind {directory} /run/k3s/containerd && mount -t tmpfs none /var/lib && \
         mkdir -p /var/lib/rancher/k3s/agent/containerd/io.containerd.content.v1.content && \
         exec timeout 5 {program} {arguments} 2>&1",
        directory = directory.display(),
        program = binary("pi-agent")?.display(),
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .output()
        .context("running pi-agent")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn the_socket_of_another_distribution_is_named() -> Result<()> {
    let advice = format!(
        "no containerd at /run/containerd/containerd.sock; there is one at {K3S} (k3s): set \
         --containerd-socket={K3S}"
    );
    let doctor = on_k3s("doctor --admin=127.0.0.1:1 --server=http://127.0.0.1:1")?;
    ensure!(doctor.contains(&advice), "{doctor}");
    let log = on_k3s(
        "run --server=http://127.0.0.1:1 --accounting=off --advertise-address=192.0.2.1 \
         --mirror-listen=127.0.0.1:0 --peer-listen=127.0.0.1:0 --admin-listen=127.0.0.1:0",
    )?;
    ensure!(log.contains(&advice), "{log}");
    Ok(())
}
