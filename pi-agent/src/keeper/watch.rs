//! Watching the mirror files for changes.

use std::{io, path::PathBuf};

use daemon::inotify::{DIRECTORY, Inotify};

/// Some directories under watch.
#[derive(Debug)]
pub(super) struct DirectoryWatch(Inotify);

impl DirectoryWatch {
    /// Watches those of the directories that exist. A later one shows in its parent.
    ///
    /// # Errors
    /// When the kernel has no further watch to give.
    pub(super) fn new(directories: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let inotify = Inotify::new()?;
        for directory in directories {
            match inotify.add(&directory, DIRECTORY) {
                Err(error) if error.kind() != io::ErrorKind::NotADirectory => return Err(error),
                _ => {}
            }
        }
        Ok(Self(inotify))
    }

    /// Ends when something has happened; a pass over the files shows to which of them.
    ///
    /// # Errors
    /// When the kernel reports no more events.
    pub(super) async fn event(&self) -> io::Result<()> {
        self.0.read(|_| ()).await
    }
}
