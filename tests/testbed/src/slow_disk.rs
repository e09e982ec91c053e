//! A disk that is slow for one program.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{major, minor};

use crate::{cgroup, process::Process, run::Run};

/// Throttles a program's reads from a disk until this is dropped. Reads from the page cache are not
/// throttled.
#[derive(Debug)]
pub struct SlowDisk {
    limits: PathBuf,
    none: String,
}

impl SlowDisk {
    /// Slows the disk on which `path` lies.
    ///
    /// # Errors
    ///
    /// When the kernel cannot: `path` lies on no disk of its own, or control groups do not throttle.
    pub fn new(run: &Run, process: &Process, path: &Path, bytes_per_second: u64) -> Result<Self> {
        let disk = disk_of(path)?;
        let version_1 = Path::new("/sys/fs/cgroup/blkio");
        let (limits, limit, none) = if version_1.is_dir() {
            let group = version_1.join(run.name());
            fs::create_dir_all(&group).with_context(|| format!("making {}", group.display()))?;
            write(&group.join("cgroup.procs"), &process.id().to_string())?;
            let limit = format!("{disk} {bytes_per_second}");
            (
                group.join("blkio.throttle.read_bps_device"),
                limit,
                format!("{disk} 0"),
            )
        } else {
            let group = process.cgroup();
            let root = cgroup::root()?;
            let above = group.ancestors().skip(1);
            let mut above: Vec<_> = above.take_while(|path| path.starts_with(&root)).collect();
            above.reverse();
            for ancestor in above {
                write(&ancestor.join("cgroup.subtree_control"), "+io")?;
            }
            let limit = format!("{disk} rbps={bytes_per_second}");
            (group.join("io.max"), limit, format!("{disk} rbps=max"))
        };
        write(&limits, &limit)?;
        Ok(Self { limits, none })
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // Fails when the group is gone, and the limit with it.
        let _ = fs::write(&self.limits, &self.none);
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {text:?} to {}", path.display()))
}

/// The numbers of the whole disk, which is what can be slowed, on which a file lies.
fn disk_of(path: &Path) -> Result<String> {
    let device = fs::metadata(path)
        .with_context(|| format!("looking at {}", path.display()))?
        .dev();
    let number = format!("{}:{}", major(device), minor(device));
    let device = Path::new("/sys/dev/block").join(&number);
    ensure!(
        device.exists(),
        "{} lies on no disk, but on device {number}",
        path.display()
    );
    if !device.join("partition").exists() {
        return Ok(number);
    }
    let whole = fs::canonicalize(&device)?;
    let whole = whole.parent().context("a partition of no disk")?;
    let number = fs::read_to_string(whole.join("dev")).context("reading a disk's number")?;
    Ok(number.trim().to_owned())
}
