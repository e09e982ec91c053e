//! Blobs that containerd is still pulling, followed while they grow, so that peers can be given what
//! is there already.
//!
//! containerd writes an ingest in order and in steps of a mebibyte, from any source: a peer through
//! this node's mirror, or the registry. The file that is opened here outlives both commit and
//! deletion of the ingest. Its bytes are not verified by containerd before the commit.

mod list;

use std::{
    collections::HashMap,
    fs::File,
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use daemon::{
    inotify::{Event, Inotify, ReadFlags, WatchFlags},
    scope::Scope,
    telemetry::chain,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tracing::{Span, debug, warn};

use self::list::List;
pub(crate) use self::list::Noted;
use super::{
    ingest::Ingest,
    named::{Called, Repository},
    proof::Proofs,
    store::Store,
};
use crate::{digest::Digest, disk, http::Kind, policy::Policy};

/// Most blobs that are followed at once. A pull has a few in flight; a node is no source of growing
/// blobs beyond this number.
const MAX_FOLLOWED: usize = 256;
/// Up to this size, in bytes, an object is little as manifests are: the registry could send it to each node.
const LITTLE: u64 = 64 << 10;
/// Most repositories that are remembered for each.
const MAX_NAMES: usize = 16;
/// How long a blob is served from its ingest after the commit: until the watch of the content store
/// has found it as part of an image.
const KEEP_AFTER_COMMIT: Duration = Duration::from_secs(30);
/// Deadline of the disk for opening the ingest. containerd creates it before it requests bytes.
const FIND: Duration = Duration::from_millis(500);
/// Most threads that look for ingests at the same time.
static FINDING: Semaphore = Semaphore::const_new(4);

/// The blobs that this node's containerd is pulling. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Growth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    policy: Policy,
    /// What is known of blobs that were followed to their ends.
    proofs: Proofs,
    /// Tells of each write to an ingest; `None` where the kernel has no more of them.
    inotify: Option<Inotify>,
    table: Mutex<Followed>,
    /// Where chunk lists are made, once this runs.
    scope: OnceLock<Scope>,
}

#[derive(Debug, Default)]
struct Followed {
    blobs: HashMap<Digest, Arc<Growing>>,
    watches: HashMap<i32, Arc<Growing>>,
}

/// What an event of an ingest's directory is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changed {
    /// The file with the bytes.
    Data,
    /// The directory itself, or another file in it.
    Directory,
}

/// A blob on its way in.
#[derive(Debug)]
pub struct Growing {
    digest: Digest,
    data: File,
    total: u64,
    /// The repository under whose name a manifest is fetched.
    repository: Option<Repository>,
    reached: watch::Sender<Reached>,
    list: Mutex<List>,
    proofs: Proofs,
    /// The repositories under whose names it was asked for.
    names: Mutex<Vec<Repository>>,
}

/// Progress of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Bytes present from its start on, without a gap.
    pub(crate) bytes: u64,
    /// Bytes from its start on whose chunks have digests: labelled replies end there.
    pub(crate) listed: u64,
    /// When the last of them arrived.
    pub(crate) at: Instant,
    /// How it ended; `None` while it grows.
    pub(crate) end: Option<Ended>,
    /// Whether it is withdrawn from peers.
    pub(crate) withdrawn: bool,
}

/// How a pull of a blob ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// containerd has verified and committed it.
    Committed,
    /// containerd gave it up.
    Vanished,
}

/// Under which name this node's containerd asked for an object, and from which byte on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) registry: Option<&'a str>,
    pub(crate) repository: &'a str,
    pub(crate) kind: Kind,
    pub(crate) start: u64,
}

impl Growth {
    pub(crate) fn new(store: Store, policy: Policy, proofs: Proofs) -> Self {
        let inotify = Inotify::new()
            .inspect_err(|error| {
                warn!(%error, "blobs cannot be shared while they are pulled: no inotify");
            })
            .ok();
        Self(Arc::new(Inner {
            store,
            policy,
            proofs,
            inotify,
            table: Mutex::default(),
            scope: OnceLock::new(),
        }))
    }

    /// Follows the blob that containerd asked its mirror for, if peers may have it. Call it before
    /// the request is answered: what is written later than this is what the answer brought.
    ///
    /// `None` where the client is not the containerd of this node, where its ingest has bytes that
    /// the request did not speak of (a writer that could not resume left them), and where the size
    /// of the whole is not known.
    pub(crate) async fn follow(&self, digest: &Digest, asked: Asked<'_>) -> Option<Arc<Growing>> {
        let inotify = self.0.inotify.as_ref()?;
        let shared = match asked.registry {
            Some(registry) => self.0.policy.shares(registry, asked.repository),
            None => self.0.policy.shares_all(),
        };
        if !shared {
            return None;
        }
        if let Some(growing) = self.get(digest)
            && growing.reached().end.is_none()
        {
            growing.asked_for(asked);
            return Some(growing);
        }
        let repository = match (asked.kind, asked.registry) {
            (Kind::Blob, _) => None,
            (Kind::Manifest, registry) => Some(Repository::of_image(registry?, asked.repository)),
        };
        let (store, wanted) = (self.0.store.clone(), digest.clone());
        let find = move || Ingest::find(&store, &wanted);
        let ingest = disk::apart(&FINDING, FIND, find).await.ok()??;
        let size = ingest.size()?;
        if size > asked.start {
            return None;
        }
        let total = ingest.total?;
        let growing = Arc::new(Growing {
            digest: digest.clone(),
            data: ingest.data?,
            total,
            repository,
            reached: watch::Sender::new(Reached {
                bytes: size,
                listed: 0,
                at: Instant::now(),
                end: None,
                withdrawn: false,
            }),
            list: Mutex::default(),
            proofs: self.0.proofs.clone(),
            names: Mutex::default(),
        });
        growing.asked_for(asked);
        let mut table = self.lock();
        table.tidy(Instant::now());
        if table.blobs.len() >= MAX_FOLLOWED {
            return None;
        }
        let events = WatchFlags::MODIFY
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        let watch = inotify.add(&ingest.directory, events).ok()??;
        table.watches.insert(watch, Arc::clone(&growing));
        table.blobs.insert(digest.clone(), Arc::clone(&growing));
        drop(table);
        // Bytes that arrived between the first read and the watch.
        growing.grow();
        if let Some(scope) = self.0.scope.get() {
            let (drained, list) = (scope.clone(), Arc::clone(&growing).make_list());
            scope.task(Span::none(), async move {
                tokio::select! {
                    () = drained.draining() => {}
                    () = list => {}
                }
            });
        }
        Some(growing)
    }

    /// The blob, where it is followed.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<Growing>> {
        self.lock().blobs.get(digest).cloned()
    }

    /// All that are followed and have not ended.
    pub(crate) fn under_way(&self) -> Vec<Arc<Growing>> {
        let table = self.lock();
        let growing = table.blobs.values().filter(|g| g.reached().end.is_none());
        growing.cloned().collect()
    }

    /// Forgets what ended a while ago.
    pub(crate) fn tidy(&self) {
        self.lock().tidy(Instant::now());
    }

    /// Follows blobs until the scope drains.
    pub(crate) async fn run(self, scope: Scope) {
        // It runs once; who would run it again makes no other lists.
        let _ = self.0.scope.set(scope.clone());
        let events = async {
            if let Some(error) = self.events().await.err() {
                warn!(error = %chain(&error), "blobs that are pulled cannot be followed any more");
                self.lock().give_up();
            }
            scope.draining().await;
        };
        tokio::select! {
            () = scope.draining() => {}
            () = events => {}
        }
    }

    async fn events(&self) -> io::Result<()> {
        let Some(inotify) = &self.0.inotify else {
            return Ok(());
        };
        loop {
            inotify.read(|event| self.take(event)).await?;
        }
    }

    fn take(&self, event: &Event<'_>) {
        let flags = event.events();
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.look_at_all();
            return;
        }
        let what = match event.file_name() {
            Some(name) if name == c"data" => Changed::Data,
            Some(_) | None => Changed::Directory,
        };
        let mut table = self.lock();
        let Some(growing) = table.watches.get(&event.wd()).cloned() else {
            return;
        };
        if flags.contains(ReadFlags::IGNORED) {
            table.watches.remove(&event.wd());
        }
        drop(table);
        growing.take(flags, what);
    }

    /// Rereads all sizes, because events were lost.
    fn look_at_all(&self) {
        for growing in self.under_way() {
            growing.grow();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Followed> {
        self.0.table.lock()
    }
}

impl Followed {
    fn tidy(&mut self, now: Instant) {
        self.blobs.retain(|_, growing| {
            let reached = growing.reached();
            match reached.end {
                None => true,
                Some(Ended::Committed) => now - reached.at < KEEP_AFTER_COMMIT,
                Some(Ended::Vanished) => false,
            }
        });
    }

    fn give_up(&mut self) {
        self.blobs
            .drain()
            .for_each(|(_, growing)| growing.end(Ended::Vanished));
        self.watches.clear();
    }
}

impl Growing {
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The repositories under whose names this node's containerd asked for it.
    pub(crate) fn names(&self) -> Vec<Repository> {
        self.names.lock().clone()
    }

    /// The registry from which this node's containerd wants it, where it says which.
    pub(crate) fn registry(&self) -> Option<String> {
        let names = self.names.lock();
        let (registry, _) = names.first()?.parts()?;
        Some(registry.to_owned())
    }

    fn asked_for(&self, asked: Asked<'_>) {
        let Some(registry) = asked.registry else {
            return;
        };
        let name = Repository::of_image(registry, asked.repository);
        let mut names = self.names.lock();
        if names.len() < MAX_NAMES && !names.contains(&name) {
            names.push(name);
        }
    }

    /// The file that it grows in.
    pub(crate) fn data(&self) -> &File {
        &self.data
    }

    /// Size of the whole.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Whether it is given out as `kind` under the name `called`: a manifest belongs to the repository under
    /// whose name it is fetched.
    pub(crate) fn is_given(&self, kind: Kind, called: Called<'_>) -> bool {
        match &self.repository {
            Some(repository) => repository.is(called),
            None => kind == Kind::Blob,
        }
    }

    /// Whether it is a manifest.
    pub(crate) fn is_manifest(&self) -> bool {
        self.repository.is_some()
    }

    /// Whether nodes wait for one another only briefly to get it.
    pub(crate) fn is_little(&self) -> bool {
        self.is_manifest() || self.total <= LITTLE
    }

    /// How far it is.
    pub(crate) fn reached(&self) -> Reached {
        *self.reached.borrow()
    }

    /// Waits until there is a byte at `offset`, or there will be none.
    pub(crate) async fn beyond(&self, offset: u64) -> Reached {
        let mut reached = self.reached.subscribe();
        let there = |r: &Reached| r.bytes > offset || r.is_over();
        match reached.wait_for(there).await {
            Ok(reached) => *reached,
            // The sender lives as long as `self`.
            Err(_) => self.reached(),
        }
    }

    /// Withdraws it from peers. This node's containerd continues.
    pub(crate) fn withdraw(&self) {
        self.reached.send_modify(|reached| reached.withdrawn = true);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Ended {
        let mut reached = self.reached.subscribe();
        match reached.wait_for(|r| r.end.is_some()).await {
            Ok(reached) => reached.end.unwrap_or(Ended::Vanished),
            Err(_) => Ended::Vanished,
        }
    }

    fn take(&self, flags: ReadFlags, what: Changed) {
        let is_data = what == Changed::Data;
        if is_data && flags.contains(ReadFlags::MODIFY) {
            self.grow();
        }
        if is_data && flags.contains(ReadFlags::MOVED_FROM) {
            self.grow();
            self.end(Ended::Committed);
        }
        let gone = ReadFlags::DELETE_SELF | ReadFlags::IGNORED;
        if flags.intersects(gone) || (is_data && flags.contains(ReadFlags::DELETE)) {
            self.end(Ended::Vanished);
        }
    }

    /// Reads its size. It never shrinks: a truncated file belongs to another pull.
    fn grow(&self) {
        let Ok(size) = self.data.metadata().map(|data| data.len()) else {
            return;
        };
        self.reached.send_if_modified(|reached| {
            let grown = size > reached.bytes && reached.end.is_none();
            if grown {
                reached.bytes = size.min(self.total);
                reached.at = Instant::now();
            }
            grown
        });
    }

    /// The first end counts: a commit is followed by the ingest's removal.
    fn end(&self, end: Ended) {
        let is_new = self.reached.send_if_modified(|reached| {
            let is_new = reached.end.is_none();
            if is_new {
                reached.end = Some(end);
                reached.at = Instant::now();
            }
            is_new
        });
        if is_new {
            debug!(digest = %self.digest, ?end, "a pull of a blob has ended");
            self.settle();
        }
    }
}

impl Reached {
    /// Whether peers get no more bytes of it.
    fn is_over(&self) -> bool {
        self.end.is_some() || self.withdrawn
    }
}

#[cfg(test)]
mod tests;
