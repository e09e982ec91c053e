//! A directory as it was at first, whatever has come to stand at its path since.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, Stat, fstat, open, stat};

/// A directory. Its descriptor keeps the file system from giving its number to another one, as ext4
/// does with the next directory that is made.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    directory: OwnedFd,
}

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is what its path leads to.
    Stays,
    /// Its path leads to another, or to none.
    Elsewhere,
    /// It was deleted, and its path still leads to it: something has it mounted there.
    Deleted,
}

impl Held {
    /// Holds what `path` leads to now.
    ///
    /// # Errors
    /// When that is no directory, or may not be looked at.
    pub(super) fn hold(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            path: path.to_owned(),
            directory: open(path, flags, Mode::empty())?,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fate(&self) -> Fate {
        let Ok(held) = fstat(&self.directory) else {
            return Fate::Stays;
        };
        let number = |stat: &Stat| (stat.st_dev, stat.st_ino);
        match stat(&self.path) {
            Ok(now) if number(&now) != number(&held) => Fate::Elsewhere,
            Ok(_) if held.st_nlink == 0 => Fate::Deleted,
            Ok(_) => Fate::Stays,
            Err(_) => Fate::Elsewhere,
        }
    }
}
