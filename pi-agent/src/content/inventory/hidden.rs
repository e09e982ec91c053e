//! Which manifests belong to private repositories.

use std::collections::HashSet;

use super::{Extent, Id, Inventory, MAX_DEPTH, Node, Role};

impl Inventory {
    /// All manifests that are reached from an image of a private repository, or from a pull of one.
    pub(super) fn hidden(&self) -> HashSet<Id> {
        let mut hidden = HashSet::new();
        if !self.policy.has_private() {
            return hidden;
        }
        let images = self.images.values();
        let images = images.filter(|root| root.is_private(&self.policy));
        let fresh = self.fresh.iter();
        let fresh = fresh.filter(|(_, fresh)| fresh.extent == Extent::Blobs);
        for id in images
            .map(|root| &root.target)
            .chain(fresh.map(|(id, _)| id))
        {
            self.hide(id, MAX_DEPTH, &mut hidden);
        }
        hidden
    }

    fn hide(&self, id: &Id, depth: u32, hidden: &mut HashSet<Id>) {
        if !self.present.contains_key(id) || !hidden.insert(id.clone()) || depth == 0 {
            return;
        }
        if let Some(Node::Manifest { children, .. }) = self.manifests.get(id) {
            let children = children.iter();
            for child in children.filter(|child| child.role == Role::Manifest) {
                self.hide(&child.id, depth - 1, hidden);
            }
        }
    }
}
