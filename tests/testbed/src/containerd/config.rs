//! The settings of a containerd that keeps to its own directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::pause;

/// Plugins that would use directories outside, or report that their file system is missing.
const DISABLED: &str = r#"[
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.nri.v1.nri",
]"#;

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAYFS: u64 = 0x794c_7630;

/// Where a containerd has what is its own.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) ttrpc: PathBuf,
    pub(crate) cni: PathBuf,
    pub(crate) hosts: PathBuf,
}

/// Settings of version 2, which 1.6 to 2.x read. Content will lie on the file system of `disk`.
pub(crate) fn text(places: &Places, disk: &Path) -> Result<String> {
    Ok(format!(
        r#"version = 2
root = "{root}"
state = "{state}"
disabled_plugins = {DISABLED}

[grpc]
address = "{socket}"

[ttrpc]
address = "{ttrpc}"

[debug]
level = "info"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Without CAP_SYS_RESOURCE a sandbox cannot lower its score.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{cni}"

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{hosts}"
"#,
        pause = pause::NAME,
        root = places.root.display(),
        state = places.state.display(),
        socket = places.socket.display(),
        ttrpc = places.ttrpc.display(),
        snapshotter = snapshotter(disk)?,
        cni = places.cni.display(),
        hosts = places.hosts.display(),
    ))
}

/// An overlay cannot lie on an overlay, which is what a container's own file system is.
fn snapshotter(directory: &Path) -> Result<&'static str> {
    let file_system = rustix::fs::statfs(directory).context("asking for the file system")?;
    let is_overlay = u64::try_from(file_system.f_type).is_ok_and(|kind| kind == OVERLAYFS);
    Ok(if is_overlay { "native" } else { "overlayfs" })
}
