//! Keeping the table of what may be shared in step with containerd: the one task that owns the
//! inventory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use daemon::{metric::Metric, scope::Scope, spell::Spell, telemetry::chain};
use piccolo_api::Key;
use tokio::{sync::mpsc, time::Instant};
use tracing::{debug, info, warn};

use super::{
    Content,
    id::Id,
    inventory::Inventory,
    manifest::{MAX_MANIFEST, Manifest},
    origin::Origin,
};
use crate::{containerd::Image, digest::Digest, discovery::Discovery};

pub(super) const BROKEN: Metric = Metric::counter(
    "piccolo_agent_broken_manifests_total",
    &[],
    "Manifests of this node's images that could not be understood; what they refer to is not shared.",
);

/// Most changes that are applied before the table is rebuilt.
const BATCH: usize = 1024;
/// Commits that wait to be vetted.
const MAX_CANDIDATES: usize = 1024;
/// containerd writes its record of a blob after the file, and its source label after that: when
/// the record is looked for after a commit.
const VETTING: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// Something happened to the content or the images.
#[derive(Debug)]
pub(crate) enum Change {
    /// A new scan of all blobs.
    Scanned(HashMap<Id, u64>),
    /// A blob was committed.
    BlobPut(Id, u64),
    /// A blob was deleted.
    BlobGone(Id),
    /// All images of a namespace.
    Listed(Arc<str>, Vec<Image>),
    /// An image was made or moved.
    ImagePut(Arc<str>, Image),
    /// An image was removed.
    ImageGone(Arc<str>, String),
}

/// Owns the inventory.
#[derive(Debug)]
pub(crate) struct Tracker {
    content: Content,
    discovery: Discovery,
    inventory: Inventory,
    origin: Origin,
    /// Commits that may be the manifest of a pull in progress, by the time of their next vetting.
    candidates: BTreeMap<(Instant, Id), usize>,
    /// Whether the store has been scanned.
    scanned: bool,
    /// Of manifests of images.
    unreadable: Spell,
}

impl Tracker {
    pub(crate) fn new(
        content: Content,
        discovery: Discovery,
        inventory: Inventory,
        origin: Origin,
    ) -> Self {
        Self {
            content,
            discovery,
            inventory,
            origin,
            candidates: BTreeMap::new(),
            scanned: false,
            unreadable: Spell::new("manifests can be read again"),
        }
    }

    /// Follows the changes until the scope drains.
    pub(crate) async fn run(mut self, mut changes: mpsc::Receiver<Change>, scope: Scope) {
        let policy = self.origin.policy().clone();
        loop {
            let wake = self.next_wake();
            let change = tokio::select! {
                () = scope.draining() => return,
                change = changes.recv() => change,
                () = policy.changed() => None,
                () = sleep_until(wake) => None,
            };
            self.take(change);
            for _ in 0..BATCH {
                match changes.try_recv() {
                    Ok(change) => self.take(Some(change)),
                    Err(_) => break,
                }
            }
            self.vet().await;
            self.inventory.expire(Instant::now());
            self.publish().await;
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let vetting = self.candidates.keys().next().map(|(at, _)| *at);
        vetting
            .into_iter()
            .chain(self.inventory.next_expiry())
            .min()
    }

    fn take(&mut self, change: Option<Change>) {
        match change {
            Some(Change::Scanned(present)) => self.scanned(present),
            Some(Change::BlobPut(id, size)) => {
                self.inventory.put(id.clone(), size);
                self.committed(id, size);
            }
            Some(Change::BlobGone(id)) => self.inventory.gone(&id),
            Some(Change::Listed(namespace, images)) => self.inventory.listed(&namespace, images),
            Some(Change::ImagePut(namespace, image)) => {
                self.inventory.image_put(&namespace, image);
            }
            Some(Change::ImageGone(namespace, name)) => {
                self.inventory.image_gone(&namespace, &name);
            }
            None => {}
        }
    }

    /// Takes in what there is. New blobs of a later scan were committed since the previous one; the
    /// first scan finds what was there before this agent.
    fn scanned(&mut self, present: HashMap<Id, u64>) {
        let mut new = Vec::new();
        if self.scanned {
            let known = |(id, _): &(&Id, &u64)| !self.inventory.has(id);
            let found = present.iter().filter(known);
            new.extend(found.map(|(id, size)| (id.clone(), *size)));
        }
        self.scanned = true;
        self.inventory.scanned(present);
        for (id, size) in new {
            self.committed(id, size);
        }
    }

    /// A blob was committed just now.
    fn committed(&mut self, id: Id, size: u64) {
        self.content.committed(&id, size);
        if size <= MAX_MANIFEST && self.candidates.len() < MAX_CANDIDATES {
            self.candidates.insert((Instant::now() + VETTING[0], id), 0);
        }
    }

    /// Checks the commits that are due: whether each begins a pull of a shared image.
    async fn vet(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.candidates.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let ((_, id), tries) = entry.remove_entry();
            if !self.inventory.has(&id) || self.content.has_shared(&id) {
                continue;
            }
            let digest = id.digest();
            let bytes = self.content.read_manifest(&digest).await;
            let extent = match bytes {
                Ok(Some(bytes)) if Manifest::parse(&bytes).is_ok() => {
                    self.origin.extent(&digest).await
                }
                Ok(_) => continue,
                // The disk may have it the next time.
                Err(_) => None,
            };
            if let Some(extent) = extent {
                debug!(%digest, ?extent, "a pull has begun");
                self.inventory.begun(id, extent, now);
            } else if let Some(delay) = VETTING.get(tries + 1) {
                self.candidates.insert((now + *delay, id), tries + 1);
            }
        }
    }

    /// Rebuilds the table, reads the manifests that it needs, and publishes the difference.
    async fn publish(&mut self) {
        let table = loop {
            let (table, wanted) = self.inventory.walk();
            if wanted.is_empty() {
                break table;
            }
            for wanted in wanted {
                let digest = wanted.id.digest();
                match self.content.read_manifest(&digest).await {
                    Ok(bytes) => {
                        self.unreadable.is_well();
                        let manifest = self.parse(&wanted.id, &digest, bytes.as_deref());
                        self.inventory.learn(wanted, manifest.as_ref());
                    }
                    Err(error) => {
                        self.unreadable.happened(|times| {
                            warn!(%digest, error = %chain(&error), times, "manifests cannot be read");
                        });
                        self.inventory.put_off(wanted, Instant::now());
                    }
                }
            }
        };
        let (images, blobs) = (self.inventory.image_count(), self.inventory.blob_count());
        let bytes = self.inventory.byte_count();
        self.content.facts().update(|o| {
            o.images = images;
            o.blobs = blobs;
            o.bytes = bytes;
        });
        self.tell_layers();
        let difference = self.content.replace(table);
        if !difference.is_empty() {
            let (added, removed) = (difference.added.len(), difference.removed.len());
            debug!(added, removed, "what is shared has changed");
            self.discovery.changed(difference.added, difference.removed);
        }
    }

    /// Logs once when the node keeps no layers, and once when it keeps them again.
    fn tell_layers(&self) {
        let layers = self.inventory.layers();
        if !self.content.facts().set_layers(layers) {
            return;
        }
        let (images, without) = (layers.images, layers.without);
        if layers.are_discarded() {
            warn!(
                images,
                without,
                "this node keeps no layers of its images and has nothing for its peers: containerd \
                 discards them after unpacking; set discard_unpacked_layers = false, see \
                 docs/distributions.md"
            );
        } else {
            info!(
                images,
                without, "this node keeps the layers of its images again"
            );
        }
    }

    /// What a manifest of an image says. A broken one is told of: the image cannot be run from it.
    fn parse(&self, id: &Id, digest: &Digest, bytes: Option<&[u8]>) -> Option<Manifest> {
        let error = match bytes.map(Manifest::parse) {
            Some(Ok(manifest)) => return Some(manifest),
            Some(Err(error)) => chain(&error).to_string(),
            None if self.inventory.size(id)? > MAX_MANIFEST => "it is too long".to_owned(),
            None => return None,
        };
        metrics::counter!(BROKEN.name).increment(1);
        warn!(%digest, error, "a manifest of an image is broken, and is shared as it is");
        None
    }
}

/// What a new table adds to the old one, as keys of the server.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    pub(crate) added: Vec<Key>,
    pub(crate) removed: Vec<Key>,
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
