//! Changes of files, as inotify(7) reports them.

use std::{io, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use rustix::fs::inotify::{self, CreateFlags};
pub use rustix::fs::inotify::{Event, ReadFlags, WatchFlags};
use tokio::io::{Interest, unix::AsyncFd};

/// Bytes of events that are read at a time.
const BUFFER: usize = 16 << 10;

/// What may give a path in a watched directory other content.
pub const DIRECTORY: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Some paths under watch. Dropping it ends the watches.
#[derive(Debug)]
pub struct Inotify(AsyncFd<OwnedFd>);

impl Inotify {
    /// Watches nothing yet. Call it within a runtime.
    ///
    /// # Errors
    /// When the user has as many instances as the kernel allows (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "an OwnedFd keeps its descriptor, which is all that the unsafe successor asks"
        )]
        let inotify = AsyncFd::with_interest(inotify, Interest::READABLE)?;
        Ok(Self(inotify))
    }

    /// Watches `path` for `changes`. Returns the watch's number, by which events name it; `None` if
    /// the path does not exist.
    ///
    /// # Errors
    /// When the path may not be read, is no directory as [`WatchFlags::ONLYDIR`] demands, or the user
    /// has as many watches as the kernel allows (`fs.inotify.max_user_watches`).
    pub fn add(&self, path: &Path, changes: WatchFlags) -> io::Result<Option<i32>> {
        match inotify::add_watch(self.0.get_ref(), path, changes) {
            Ok(watch) => Ok(Some(watch)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until there are events, and passes each of those that are there to `take`. No event is
    /// lost if the future is dropped while it waits.
    ///
    /// # Errors
    /// When the kernel does not give the events.
    pub async fn read(&self, mut take: impl FnMut(&Event<'_>)) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(self.0.get_ref(), &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => take(&event),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}
