//! A disk of its own for a containerd's content, which can be full.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::exec::run_line;

/// What is written at a time to fill it.
const PIECE: usize = 64 << 10;

/// A small disk in memory. The run's cleaner removes it.
#[derive(Debug)]
pub struct SmallDisk {
    filler: PathBuf,
}

impl SmallDisk {
    /// Mounts one on a directory, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be mounted.
    pub fn mount(directory: &Path, mebibytes: u32) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let path = directory.display();
        run_line(&format!(
            "mount -t tmpfs -o size={mebibytes}m,mode=700 tmpfs {path}"
        ))?;
        Ok(Self {
            filler: directory.join("filler"),
        })
    }

    /// Leaves no room on it.
    ///
    /// # Errors
    ///
    /// When it cannot be written to.
    pub fn fill(&self) -> Result<()> {
        let mut filler = File::create(&self.filler).context("filling a disk")?;
        let piece = vec![0; PIECE];
        loop {
            match filler.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("filling a disk"),
            }
        }
    }

    /// Makes room again.
    ///
    /// # Errors
    ///
    /// When it is not full.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(&self.filler).context("making room on a disk")
    }
}
