//! Noticing that something happens to the mirror files.

use std::{io, mem::MaybeUninit, path::PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::{Interest, unix::AsyncFd};

/// Some directories under watch.
#[derive(Debug)]
pub(super) struct Watch(AsyncFd<std::os::fd::OwnedFd>);

impl Watch {
    /// Watches those of the directories that there are. One that comes later shows in the one above
    /// it.
    ///
    /// # Errors
    /// When the kernel has no further watch to give.
    pub(super) fn new(directories: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let events = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        for directory in directories {
            match inotify::add_watch(&inotify, directory, events) {
                Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps its descriptor, which is all that the unsafe successor asks"
        )]
        let inotify = AsyncFd::with_interest(inotify, Interest::READABLE)?;
        Ok(Self(inotify))
    }

    /// Ends when something has happened; which of the files it was is seen by looking at them.
    ///
    /// # Errors
    /// When the kernel does not tell any more.
    pub(super) async fn event(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 4 << 10];
        let mut reader = inotify::Reader::new(self.0.get_ref(), &mut buffer);
        loop {
            match reader.next() {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}
