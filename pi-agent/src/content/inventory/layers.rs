//! Images whose layers are not here: containerd has discarded them after unpacking, or fetches them
//! piece by piece. Such an image runs, and its node has nothing of it for its peers.

use std::collections::BTreeSet;

use super::{Id, Inventory, MAX_DEPTH, Node, Role};

/// How many images can be handed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Layers {
    /// Images of which a manifest is here.
    pub(crate) images: usize,
    /// Those of which no manifest has all its layers here.
    pub(crate) without: usize,
}

impl Layers {
    /// Whether that is the rule here rather than an exception.
    pub(crate) fn are_discarded(self) -> bool {
        self.without * 2 > self.images
    }
}

/// What is here of an image.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Has {
    /// No manifest that says what belongs to it.
    Nothing,
    /// A manifest, but not all that it names.
    Part,
    Whole,
}

impl Inventory {
    /// Counts the images that are shared, each once, whatever names it has.
    pub(crate) fn layers(&self) -> Layers {
        let mut layers = Layers::default();
        let shared = self.images.values().filter(|root| root.shared);
        for target in shared.map(|root| &root.target).collect::<BTreeSet<_>>() {
            match self.here(target, MAX_DEPTH) {
                Has::Nothing => {}
                Has::Part => {
                    layers.images += 1;
                    layers.without += 1;
                }
                Has::Whole => layers.images += 1,
            }
        }
        layers
    }

    fn here(&self, id: &Id, depth: u32) -> Has {
        let (true, true, Some(Node::Manifest { children, .. })) =
            (depth > 0, self.has(id), self.manifests.get(id))
        else {
            return Has::Nothing;
        };
        let mut of_manifests = Has::Nothing;
        let mut blobs = None;
        for child in children {
            match child.role {
                Role::Manifest => of_manifests = of_manifests.max(self.here(&child.id, depth - 1)),
                Role::Blob => *blobs.get_or_insert(true) &= self.has(&child.id),
            }
        }
        match blobs {
            Some(true) => Has::Whole,
            Some(false) => Has::Part,
            None => of_manifests,
        }
    }
}
