//! Following the content store: commits and deletions, seen by inotify where the directory can be
//! read, by listing where it cannot.
//!
//! Each session begins with a look at everything there is, so that whatever went wrong is mended
//! by beginning a new one.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use daemon::{
    access::{Need, explain},
    inotify::{Event, Inotify, ReadFlags, WatchFlags},
    scope::Scope,
    telemetry::chain,
};
use tokio::{sync::mpsc, time::Instant};
use tracing::{info, warn};

use super::{
    facts::{Access, Facts},
    id::Id,
    listing::Listing,
    store::{ALGORITHMS, Store},
    track::Change,
};

/// Interval of full scans, in case an event was lost.
const RESCAN: Duration = Duration::from_mins(5);
/// Interval of scans where no events arrive.
const POLL: Duration = Duration::from_secs(1);

/// Follows one content store.
#[derive(Debug)]
pub(crate) struct StoreWatch {
    pub(crate) store: Store,
    pub(crate) listing: Option<Listing>,
    pub(crate) changes: mpsc::Sender<Change>,
    pub(crate) facts: Arc<Facts>,
}

/// The directories under watch, by their descriptors.
struct Watched {
    inotify: Inotify,
    algorithms: HashMap<i32, &'static str>,
}

/// Changes collected from inotify events.
#[derive(Default)]
struct Seen {
    changes: Vec<Change>,
    /// A directory was created or removed, or events were lost: a full scan is due.
    rescan: bool,
}

impl StoreWatch {
    /// Follows the store until the scope drains.
    pub(crate) async fn run(self, scope: Scope) {
        tokio::select! {
            () = scope.draining() => {}
            () = self.sessions() => {}
        }
    }

    async fn sessions(self) {
        loop {
            if let Err(error) = self.session().await {
                let error = explain(error, &self.store.root().join("blobs"), Need::Read);
                self.without_inotify(&error).await;
            }
        }
    }

    /// One round without inotify.
    async fn without_inotify(&self, error: &io::Error) {
        let missing = matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
        );
        let access = match (missing, self.scan().await) {
            (false, Ok(present)) => {
                self.tell(Change::Scanned(present)).await;
                Access::Polling
            }
            _ => match &self.listing {
                Some(listing) => match listing.list().await {
                    Ok(present) => {
                        self.tell(Change::Scanned(present)).await;
                        Access::Grpc
                    }
                    Err(_) => self.nothing(error).await,
                },
                None => self.nothing(error).await,
            },
        };
        if self.facts.set_access(access) {
            warn!(
                path = %self.store.root().display(),
                ?access,
                error = %chain(error),
                "the content store cannot be watched"
            );
        }
        match (access, &self.listing) {
            (Access::Grpc, Some(listing)) => self.commits(listing).await,
            _ => tokio::time::sleep(POLL).await,
        }
    }

    /// Reports expected commits, until the next full listing is due.
    async fn commits(&self, listing: &Listing) {
        let next = listing.next();
        while let Some((id, size)) = listing.commit(next).await {
            self.tell(Change::BlobPut(id, size)).await;
        }
    }

    /// Neither the directory nor containerd is available. What was seen in the vanished directory
    /// is dropped; what containerd listed is there when it comes back.
    async fn nothing(&self, error: &io::Error) -> Access {
        let seen = matches!(
            self.facts.overview().access,
            Access::Inotify | Access::Polling
        );
        if seen && error.kind() == io::ErrorKind::NotFound {
            self.tell(Change::Scanned(HashMap::new())).await;
        }
        Access::Nothing
    }

    /// Watches until something calls for a new session.
    async fn session(&self) -> io::Result<()> {
        let watched = self.open()?;
        let present = self.scan().await?;
        if self.facts.set_access(Access::Inotify) {
            info!(path = %self.store.root().display(), "watching the content store");
        }
        self.tell(Change::Scanned(present)).await;
        let end = Instant::now() + RESCAN;
        loop {
            let mut seen = Seen::default();
            tokio::select! {
                read = watched.inotify.read(|event| self.see(&watched.algorithms, event, &mut seen)) => read?,
                () = tokio::time::sleep_until(end) => return Ok(()),
            }
            if seen.rescan {
                return Ok(());
            }
            for change in seen.changes {
                self.tell(change).await;
            }
        }
    }

    /// All blobs. The scan of a large store on a slow disk is slow, and pulls must not wait for it.
    async fn scan(&self) -> io::Result<HashMap<Id, u64>> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.scan()).await?
    }

    fn open(&self) -> io::Result<Watched> {
        let inotify = Inotify::new()?;
        let tree = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let root = inotify.add(self.store.root(), tree)?;
        if root.is_none() {
            return Err(rustix::io::Errno::NOENT.into());
        }
        let mut algorithms = HashMap::new();
        // There are no blobs before the first commit.
        if inotify.add(&self.store.blobs(), tree)?.is_some() {
            for algorithm in ALGORITHMS {
                let path = self.store.blobs().join(algorithm);
                if let Some(watch) = inotify.add(&path, tree)? {
                    algorithms.insert(watch, algorithm);
                }
            }
        }
        Ok(Watched {
            inotify,
            algorithms,
        })
    }

    /// Adds an event to `seen`.
    fn see(&self, algorithms: &HashMap<i32, &'static str>, event: &Event<'_>, seen: &mut Seen) {
        let flags = event.events();
        let lost = ReadFlags::QUEUE_OVERFLOW
            | ReadFlags::IGNORED
            | ReadFlags::DELETE_SELF
            | ReadFlags::MOVE_SELF;
        if flags.intersects(lost) {
            seen.rescan = true;
            return;
        }
        let name = event
            .file_name()
            .and_then(|name| name.to_str().ok())
            .unwrap_or_default();
        match algorithms.get(&event.wd()) {
            Some(algorithm) => seen.changes.extend(self.change(algorithm, name, flags)),
            // A directory was created or removed: rebuild the tree of watches.
            None if name == "blobs" || ALGORITHMS.contains(&name) => seen.rescan = true,
            None => {}
        }
    }

    fn change(&self, algorithm: &str, name: &str, flags: ReadFlags) -> Option<Change> {
        let id = Id::from_file_name(algorithm, name)?;
        if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            return Some(Change::BlobGone(id));
        }
        let size = self.store.size(algorithm, name)?;
        Some(Change::BlobPut(id, size))
    }

    async fn tell(&self, change: Change) {
        // The tracker ends only with the process.
        let _ = self.changes.send(change).await;
    }
}
