//! What may be shared: the content that this node has and that one of its images refers to.
//!
//! Plain state without I/O. Images are the roots, manifests lead on from them, and what is reached
//! and present makes the table. A manifest that was committed just now counts as a root for a
//! while: the image that a pull makes of it is recorded only when the pull is over.

mod hidden;
mod layers;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    id::Id,
    manifest::{Manifest, Role},
    named::Repository,
    origin::Extent,
};
use crate::{containerd::Image, policy::Policy, reference::Reference};

pub(crate) use self::layers::Layers;

/// Longest pull, from its first manifest to its image record.
const FRESH: Duration = Duration::from_hours(1);
/// From a manifest that could not be read to the next attempt.
const REREAD: Duration = Duration::from_secs(5);
/// Indexes within indexes are followed this far.
const MAX_DEPTH: u32 = 8;

/// An image's place: its namespace and its name.
type Name = (Arc<str>, String);

#[derive(Debug, Default)]
pub(crate) struct Inventory {
    policy: Policy,
    present: HashMap<Id, u64>,
    bytes: u64,
    images: HashMap<Name, Root>,
    manifests: HashMap<Id, Node>,
    fresh: BTreeMap<Id, Fresh>,
    /// Manifests that could not be read, and when to try again.
    unread: BTreeMap<Id, Instant>,
}

/// What may be shared.
#[derive(Debug, Default)]
pub(crate) struct Shareable {
    pub(crate) objects: HashMap<Id, Entry>,
    /// Full tag names, where tags are shared.
    pub(crate) tags: HashMap<String, Id>,
    /// Which repositories the images name for a manifest, also those that are not shared.
    pub(crate) names: HashMap<Id, Vec<Arc<Repository>>>,
    /// Manifests of private repositories, which are offered to nobody.
    pub(crate) hidden: HashSet<Id>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) size: u64,
    /// Of manifests and indexes only.
    pub(crate) media_type: Option<Arc<str>>,
}

/// A manifest that should be read, and what its parent says of its type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) id: Id,
    pub(crate) media_type: String,
}

#[derive(Debug)]
struct Root {
    target: Id,
    media_type: String,
    shared: bool,
    tag: Option<String>,
    repository: Option<Arc<Repository>>,
}

/// A manifest of a pull in progress.
#[derive(Debug)]
struct Fresh {
    until: Instant,
    extent: Extent,
}

#[derive(Debug)]
enum Node {
    Manifest {
        media_type: Arc<str>,
        children: Box<[Child]>,
    },
    /// Broken or not a manifest; remembered, so that it is not read repeatedly.
    Leaf,
}

#[derive(Debug)]
struct Child {
    id: Id,
    role: Role,
}

impl Root {
    /// One that names no repository is known under other names, if at all.
    fn is_private(&self, policy: &Policy) -> bool {
        let repository = self.repository.as_ref();
        repository.is_some_and(|repository| repository.is_private(policy))
    }
}

impl Inventory {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Replaces the set of blobs.
    pub(crate) fn scanned(&mut self, present: HashMap<Id, u64>) {
        self.bytes = present.values().sum();
        self.manifests.retain(|id, _| present.contains_key(id));
        self.fresh.retain(|id, _| present.contains_key(id));
        self.unread.retain(|id, _| present.contains_key(id));
        self.present = present;
    }

    /// A blob was committed.
    pub(crate) fn put(&mut self, id: Id, size: u64) {
        self.gone(&id);
        self.bytes = self.bytes.saturating_add(size);
        self.present.insert(id, size);
    }

    /// A blob was deleted.
    pub(crate) fn gone(&mut self, id: &Id) {
        if let Some(size) = self.present.remove(id) {
            self.bytes = self.bytes.saturating_sub(size);
        }
        self.manifests.remove(id);
        self.fresh.remove(id);
        self.unread.remove(id);
    }

    pub(crate) fn has(&self, id: &Id) -> bool {
        self.present.contains_key(id)
    }

    /// The length of a present blob, in bytes.
    pub(crate) fn size(&self, id: &Id) -> Option<u64> {
        self.present.get(id).copied()
    }

    /// Replaces the images of one namespace.
    pub(crate) fn listed(&mut self, namespace: &Arc<str>, images: Vec<Image>) {
        self.images.retain(|(n, _), _| n != namespace);
        for image in images {
            self.image_put(namespace, image);
        }
    }

    pub(crate) fn image_put(&mut self, namespace: &Arc<str>, image: Image) {
        let reference: Option<Reference> = image.name.parse().ok();
        let shared = match &reference {
            Some(r) => self.policy.shares(&r.registry, &r.repository),
            // A name without a registry can be on no list.
            None => self.policy.shares_all(),
        };
        let root = Root {
            target: Id::from(&image.target),
            media_type: image.media_type,
            shared,
            tag: reference.as_ref().and_then(Reference::tag_key),
            repository: reference
                .map(|r| Arc::new(Repository::of_image(&r.registry, &r.repository))),
        };
        // From now on the image record keeps the blob shared, not the commit.
        self.fresh.remove(&root.target);
        self.images
            .insert((Arc::clone(namespace), image.name), root);
    }

    pub(crate) fn image_gone(&mut self, namespace: &Arc<str>, name: &str) {
        self.images
            .remove(&(Arc::clone(namespace), name.to_owned()));
    }

    /// A manifest of a pull in progress, known to be shared so far, counts as an image from `now`.
    pub(crate) fn begun(&mut self, id: Id, extent: Extent, now: Instant) {
        let until = now + FRESH;
        self.fresh.insert(id, Fresh { until, extent });
    }

    /// When the next unreferenced blob expires or a manifest is retried.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        let fresh = self.fresh.values().map(|fresh| fresh.until);
        fresh.chain(self.unread.values().copied()).min()
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.fresh.retain(|_, fresh| fresh.until > now);
        self.unread.retain(|_, until| *until > now);
    }

    /// A manifest cannot be read at `now`: until it can, it is shared without its children.
    pub(crate) fn put_off(&mut self, wanted: Wanted, now: Instant) {
        self.unread.insert(wanted.id, now + REREAD);
    }

    /// Adds a manifest's content; `None` if it is not a manifest.
    pub(crate) fn learn(&mut self, wanted: Wanted, manifest: Option<&Manifest>) {
        let node = match manifest {
            Some(manifest) => Node::Manifest {
                media_type: manifest.media_type(&wanted.media_type).into(),
                children: manifest
                    .children
                    .iter()
                    .map(|child| Child {
                        id: Id::from(&child.digest),
                        role: child.role,
                    })
                    .collect(),
            },
            None => Node::Leaf,
        };
        self.manifests.insert(wanted.id, node);
    }

    /// Walks from the images: what may be shared, and which manifests have to be read to walk on.
    pub(crate) fn walk(&self) -> (Shareable, Vec<Wanted>) {
        let mut walk = Walk::default();
        for root in self.images.values().filter(|root| root.shared) {
            self.visit(
                &root.target,
                Role::Manifest,
                &root.media_type,
                MAX_DEPTH,
                &mut walk,
            );
        }
        for id in self.fresh.keys() {
            self.visit(id, Role::Manifest, "", MAX_DEPTH, &mut walk);
        }
        let objects = walk.objects;
        let tags = self
            .images
            .values()
            .filter(|root| root.shared && objects.contains_key(&root.target))
            .filter(|root| !root.is_private(&self.policy))
            .filter_map(|root| Some((root.tag.clone()?, root.target.clone())))
            .collect();
        let names = self.names();
        let table = Shareable {
            objects,
            tags,
            names,
            hidden: self.hidden(),
        };
        (table, walk.wanted)
    }

    /// The repositories of all manifests that are reached from an image.
    fn names(&self) -> HashMap<Id, Vec<Arc<Repository>>> {
        let mut names = HashMap::new();
        let roots = self.images.values();
        let named = roots.filter_map(|root| Some((&root.target, root.repository.as_ref()?)));
        for (target, repository) in named {
            self.name(target, repository, MAX_DEPTH, &mut names);
        }
        names
    }

    fn name(
        &self,
        id: &Id,
        repository: &Arc<Repository>,
        depth: u32,
        names: &mut HashMap<Id, Vec<Arc<Repository>>>,
    ) {
        if !self.present.contains_key(id) {
            return;
        }
        let known = names.entry(id.clone()).or_default();
        if known.contains(repository) {
            return;
        }
        known.push(Arc::clone(repository));
        let Some(Node::Manifest { children, .. }) = self.manifests.get(id) else {
            return;
        };
        for child in children.iter().filter(|child| child.role == Role::Manifest) {
            if depth > 0 {
                self.name(&child.id, repository, depth - 1, names);
            }
        }
    }

    fn visit(&self, id: &Id, role: Role, said: &str, depth: u32, walk: &mut Walk) {
        let Some(&size) = self.present.get(id) else {
            return;
        };
        let node = match role {
            Role::Manifest if self.unread.contains_key(id) => Some(&Node::Leaf),
            Role::Manifest if depth > 0 => self.manifests.get(id),
            Role::Manifest | Role::Blob => Some(&Node::Leaf),
        };
        match node {
            None => {
                if walk.asked.insert(id.clone()) {
                    let media_type = said.to_owned();
                    walk.wanted.push(Wanted {
                        id: id.clone(),
                        media_type,
                    });
                }
            }
            Some(Node::Leaf) => {
                walk.objects.entry(id.clone()).or_insert(Entry {
                    size,
                    media_type: None,
                });
            }
            Some(Node::Manifest {
                media_type,
                children,
            }) => {
                let media_type = Some(Arc::clone(media_type));
                let entry = Entry { size, media_type };
                // Images share content: each object is visited once.
                let before = walk.objects.insert(id.clone(), entry);
                if before.is_none_or(|entry| entry.media_type.is_none()) {
                    for child in children {
                        self.visit(&child.id, child.role, "", depth - 1, walk);
                    }
                }
            }
        }
    }

    pub(crate) fn image_count(&self) -> usize {
        self.images.len()
    }

    pub(crate) fn blob_count(&self) -> usize {
        self.present.len()
    }

    pub(crate) fn byte_count(&self) -> u64 {
        self.bytes
    }
}

#[derive(Default)]
struct Walk {
    objects: HashMap<Id, Entry>,
    asked: HashSet<Id>,
    wanted: Vec<Wanted>,
}

#[cfg(test)]
mod tests;
