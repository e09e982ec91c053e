//! Control groups (version 2): what is started in one can be ended as one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where the version 2 hierarchy is mounted: alone, or beside version 1.
pub(crate) fn root() -> Result<PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.join("cgroup.controllers").exists())
        .context("no control groups of version 2 are mounted under /sys/fs/cgroup")
}

/// One control group, removed with all that runs in it on drop.
#[derive(Debug)]
pub(crate) struct Group(PathBuf);

impl Group {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Ends every process in the group and its descendants.
    pub(crate) fn kill(&self) {
        // Before Linux 5.14 there is no such file; the caller ends its own child then, and the
        // run's cleaner the rest.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        // Fails while a process is still on its way out; the run's cleaner comes later.
        let _ = fs::remove_dir(&self.0);
    }
}
