//! What this node has: the way from a digest to the bytes of the content store.

mod expected;
mod facts;
mod growth;
mod id;
mod images;
mod ingest;
mod inventory;
mod listing;
pub mod manifest;
mod missed;
mod named;
mod offered;
mod origin;
mod private;
mod proof;
mod remote;
mod store;
mod track;
pub mod verdict;
mod watch;

use std::{fs::File, io, path::PathBuf, sync::Arc};

use daemon::{clock::Clock, metric::Metric, readiness::Readiness, scope::Scope};
use parking_lot::RwLock;
use tokio::sync::mpsc;

use self::{
    facts::Facts,
    growth::Growth,
    id::Id,
    images::ImageWatch,
    inventory::{Inventory, Shareable},
    listing::Listing,
    missed::Missed,
    named::Sources,
    origin::Origin,
    proof::Proofs,
    store::Store,
    track::Tracker,
    watch::StoreWatch,
};
use crate::{
    containerd::Containerd, digest::Digest, discovery::Discovery, http::ByteRange, jitter::Jitter,
    policy::Policy,
};

pub use self::{
    facts::{Access, Overview},
    growth::Growing,
    remote::Remote,
};
pub(crate) use self::{
    growth::{Asked, Ended, Noted},
    named::{Called, Recipient},
    proof::ChunkList,
};

/// The metrics of this module.
pub const METRICS: &[Metric] = &[
    IMAGES,
    WITHOUT,
    BLOBS,
    STORED,
    SHARED,
    missed::BYTES,
    track::BROKEN,
    proof::DAMAGED,
];

const IMAGES: Metric = Metric::gauge(
    "piccolo_agent_images",
    &[],
    "Images in the namespaces that are shared.",
);
const WITHOUT: Metric = Metric::gauge(
    "piccolo_agent_images_without_layers",
    &[],
    "Images that are shared and whose layers are not all here: containerd discards layers after \
     unpacking, or fetches them piece by piece. Peers get nothing of them.",
);
const BLOBS: Metric = Metric::gauge(
    "piccolo_agent_blobs",
    &[],
    "Blobs in containerd's content store.",
);
const STORED: Metric = Metric::gauge(
    "piccolo_agent_content_bytes",
    &[],
    "Bytes in containerd's content store.",
);
const SHARED: Metric = Metric::gauge(
    "piccolo_agent_advertised_keys",
    &[],
    "Digests and tags that this node offers to its peers.",
);

/// Changes that wait for the tracker.
const QUEUE: usize = 1024;

/// The node's content. Clones are the same.
#[derive(Debug, Clone)]
pub struct Content(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    policy: Policy,
    containerd: Option<Containerd>,
    listing: Option<Listing>,
    shared: Shared,
    facts: Arc<Facts>,
    missed: Missed,
    proofs: Proofs,
    growth: Growth,
}

/// What peers may have.
#[derive(Debug)]
enum Shared {
    /// Everything in the store, whatever it belongs to.
    All,
    /// What the images of this node refer to.
    Images {
        table: Box<RwLock<Shareable>>,
        tags: TagSharing,
        sources: Box<Sources>,
    },
}

/// Whether tags are shared besides digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagSharing {
    /// Digests only.
    Off,
    /// Tags too.
    On,
}

/// Where the content is and what of it is shared.
#[derive(Debug)]
pub struct Settings {
    /// The content store's directory: the one that holds `blobs` and `ingest`.
    pub path: PathBuf,
    /// The containerd that it belongs to.
    pub containerd: Containerd,
    /// Which repositories are shared.
    pub policy: Policy,
    /// Whether tags are shared.
    pub tags: TagSharing,
    /// Receives the agent's conditions.
    pub readiness: Readiness,
}

/// An object that is wholly in the content store.
#[derive(Debug)]
pub struct Object {
    /// What it is.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its media type where it is known: always for a manifest or index of an image.
    pub media_type: Option<String>,
    /// Where its bytes are.
    pub source: Source,
    /// The digests of its chunks, where the blob is known to be what its digest says.
    pub(crate) chunks: Option<ChunkList>,
}

/// Where an object's bytes come from.
#[derive(Debug)]
pub enum Source {
    /// A file of the content store. The open descriptor outlives the file's deletion.
    File(File),
    /// containerd, which hands the bytes over piece by piece.
    Remote(Remote),
    /// An ingest that containerd is still writing.
    Growing(Arc<Growing>),
}

/// A failure of this node's own store.
#[derive(Debug, thiserror::Error)]
#[error("{digest} could not be read from the content store")]
pub struct ContentError {
    digest: Digest,
    #[source]
    source: io::Error,
}

/// What runs as long as the content is followed.
#[derive(Debug)]
pub struct Tracking {
    content: Content,
    settings: Settings,
}

impl Content {
    /// The content store whose plugin directory is `root` (the one that holds `blobs` and
    /// `ingest`), all of it shared and none of it followed.
    pub fn new(root: PathBuf) -> Self {
        Self::with_policy(root, Policy::default())
    }

    /// The same, of which `policy` says what is private. Nobody knows where blobs came from that are there
    /// already.
    pub fn with_policy(root: PathBuf, policy: Policy) -> Self {
        let store = Store::new(root);
        let proofs = Proofs::default();
        Self(Arc::new(Inner {
            growth: Growth::new(store.clone(), policy.clone(), proofs.clone()),
            policy,
            proofs,
            store,
            containerd: None,
            listing: None,
            shared: Shared::All,
            facts: Arc::default(),
            missed: Missed::default(),
        }))
    }

    /// The content of the images of one containerd. It knows of nothing until it is followed.
    pub fn of_images(settings: Settings) -> (Self, Tracking) {
        let store = Store::new(settings.path.clone());
        let proofs = Proofs::default();
        let content = Self(Arc::new(Inner {
            growth: Growth::new(store.clone(), settings.policy.clone(), proofs.clone()),
            policy: settings.policy.clone(),
            proofs,
            store,
            containerd: Some(settings.containerd.clone()),
            listing: Some(Listing::new(settings.containerd.clone())),
            shared: Shared::Images {
                table: Box::default(),
                tags: settings.tags,
                sources: Box::new(Sources::new(Origin::new(
                    settings.containerd.clone(),
                    settings.policy.clone(),
                ))),
            },
            facts: Arc::default(),
            missed: Missed::default(),
        }));
        let tracking = Tracking {
            content: content.clone(),
            settings,
        };
        (content, tracking)
    }

    /// Opens an object that this node has.
    ///
    /// # Errors
    /// When the store cannot be read; absence is `None`.
    pub async fn open(&self, digest: &Digest) -> Result<Option<Object>, ContentError> {
        let opened = match self.0.store.open(digest).await {
            Ok(Some((file, size))) => Ok(Some((Source::File(file), size))),
            Ok(None) => self.open_remote(digest).await,
            Err(error) => match self.open_remote(digest).await {
                Ok(None) => Err(error),
                opened => opened,
            },
        };
        let opened = opened.map_err(|source| ContentError {
            digest: digest.clone(),
            source,
        })?;
        Ok(opened.map(|(source, size)| Object {
            digest: digest.clone(),
            size,
            media_type: self.media_type(digest),
            source,
            chunks: None,
        }))
    }

    /// Opens an object over gRPC, where that is the way to the store.
    async fn open_remote(&self, digest: &Digest) -> io::Result<Option<(Source, u64)>> {
        let Some(containerd) = self.grpc() else {
            return Ok(None);
        };
        let found = Remote::find(containerd, digest).await;
        let found = found.map_err(io::Error::other)?;
        if let (None, Some(listing)) = (&found, &self.0.listing) {
            // A miss usually means that containerd is about to commit the blob.
            listing.expect(digest);
        }
        Ok(found.map(|(remote, size)| (Source::Remote(remote), size)))
    }

    /// containerd, where the store's files cannot be read.
    fn grpc(&self) -> Option<&Containerd> {
        let containerd = self.0.containerd.as_ref()?;
        (self.overview().access == Access::Grpc).then_some(containerd)
    }

    /// containerd asked for an object, or a part of it, that neither this node nor a peer had.
    pub fn missed(&self, digest: &Digest, range: Option<ByteRange>) {
        self.0.missed.note(Id::from(digest), range);
    }

    /// Whether peers may have an object: whether an image of this node refers to it and is shared.
    pub fn may_serve(&self, digest: &Digest) -> bool {
        self.has_shared(&Id::from(digest))
    }

    /// Follows a blob that containerd asked its mirror for, so that peers may have it while it is
    /// pulled; `None` where they may not, or where it cannot be followed.
    pub(crate) async fn follow(&self, digest: &Digest, asked: Asked<'_>) -> Option<Arc<Growing>> {
        self.0.growth.follow(digest, asked).await
    }

    /// A blob that is followed while it is pulled, and until an image refers to it.
    pub(crate) async fn growing(&self, digest: &Digest) -> Option<Arc<Growing>> {
        let growing = self.0.growth.get(digest)?;
        if growing.reached().end != Some(Ended::Committed) {
            return Some(growing);
        }
        // containerd may have removed it since, which its open ingest does not show.
        let stored = self.0.store.open(digest).await.ok()?;
        stored.map(|_| growing)
    }

    /// Drops blobs whose pulls ended a while ago.
    pub(crate) fn tidy(&self) {
        self.0.growth.tidy();
    }

    /// Follows blobs while they are pulled, as a service of `scope`.
    pub fn follow_growth(&self, scope: &Scope) {
        scope.service("growth", self.0.growth.clone().run(scope.clone()));
    }

    /// The digest that a tag stands for on this node, where tags are shared.
    pub fn resolve(&self, registry: &str, repository: &str, tag: &str) -> Option<Digest> {
        match &self.0.shared {
            Shared::Images {
                table,
                tags: TagSharing::On,
                ..
            } => {
                let table = table.read();
                let id = table.tags.get(&format!("{registry}/{repository}:{tag}"))?;
                Some(id.digest())
            }
            Shared::Images { .. } | Shared::All => None,
        }
    }

    /// The state for status and doctor.
    pub fn overview(&self) -> Overview {
        self.0.facts.overview()
    }

    /// Whether an object is known to be here, without a call to containerd.
    pub(crate) async fn is_here(&self, digest: &Digest) -> bool {
        let shared = match &self.0.shared {
            Shared::All => false,
            Shared::Images { .. } => self.has_shared(&Id::from(digest)),
        };
        shared || self.0.store.has(digest).await
    }

    fn media_type(&self, digest: &Digest) -> Option<String> {
        match &self.0.shared {
            Shared::All => None,
            Shared::Images { table, .. } => {
                let table = table.read();
                let entry = table.objects.get(&Id::from(digest))?;
                entry.media_type.as_deref().map(str::to_owned)
            }
        }
    }

    fn has_shared(&self, id: &Id) -> bool {
        match &self.0.shared {
            Shared::All => true,
            Shared::Images { table, .. } => {
                let table = table.read();
                table.objects.contains_key(id)
            }
        }
    }

    fn committed(&self, id: &Id, size: u64) {
        self.0.missed.committed(id, size);
    }

    fn facts(&self) -> &Facts {
        &self.0.facts
    }

    /// Reads a blob that may be a manifest; `None` where it is absent or too large to be one.
    pub(crate) async fn read_manifest(&self, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        let error = match self.0.store.read_manifest(digest).await {
            Ok(Some(bytes)) => return Ok(Some(bytes)),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if let Some(containerd) = self.grpc() {
            return remote::read_manifest(containerd, digest)
                .await
                .map_err(io::Error::other);
        }
        match error {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }
}

impl Tracking {
    /// Follows containerd as services of `scope`, and tells `discovery` what changes.
    pub fn start(self, scope: &Scope, discovery: Discovery, clock: Clock, jitter: Jitter) {
        let Self { content, settings } = self;
        content.follow_growth(scope);
        let (changes, queue) = mpsc::channel(QUEUE);
        let watch = StoreWatch {
            store: content.0.store.clone(),
            listing: content.0.listing.clone(),
            changes: changes.clone(),
            facts: Arc::clone(&content.0.facts),
        };
        let images = ImageWatch {
            containerd: settings.containerd.clone(),
            changes,
            listing: content.0.listing.clone(),
            facts: Arc::clone(&content.0.facts),
            clock,
            jitter,
            readiness: settings.readiness,
        };
        let inventory = Inventory::new(settings.policy.clone());
        let origin = Origin::new(settings.containerd, settings.policy);
        let tracker = Tracker::new(content, discovery, inventory, origin);
        scope.service("content", tracker.run(queue, scope.clone()));
        scope.service("content-store", watch.run(scope.clone()));
        scope.service("images", images.run(scope.clone()));
    }
}
