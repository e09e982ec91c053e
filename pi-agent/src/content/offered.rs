//! What this node offers to its peers by name: the keys that the server is told, and what changes of them.

use piccolo_api::Key;

use super::{
    BLOBS, Content, IMAGES, SHARED, STORED, Shared, TagSharing, WITHOUT, id::Id,
    inventory::Shareable, track::Difference,
};

impl Content {
    /// Every key that this node offers to peers.
    pub fn keys(&self) -> Vec<Key> {
        match &self.0.shared {
            Shared::All => Vec::new(),
            Shared::Images { table, tags, .. } => {
                let table = table.read();
                let digests = table.offered().filter_map(digest_key);
                digests.chain(tag_keys(&table, *tags)).collect()
            }
        }
    }

    /// Puts a new table in force and tells what it changes.
    pub(super) fn replace(&self, new: Shareable) -> Difference {
        let Shared::Images { table, tags, .. } = &self.0.shared else {
            return Difference::default();
        };
        let only = |a: &Shareable, b: &Shareable| -> Vec<Key> {
            let digests = a.offered().filter(|id| !b.offers(id));
            let names = tag_keys(a, *tags).filter(|tag| !b.tags.contains_key(tag.as_str()));
            digests.filter_map(digest_key).chain(names).collect()
        };
        let mut old = table.write();
        let difference = Difference {
            added: only(&new, &old),
            removed: only(&old, &new),
        };
        let objects = new.offered().count();
        let tags = tag_keys(&new, *tags).count();
        *old = new;
        drop(old);
        self.facts().update(|o| {
            o.shared_objects = objects;
            o.shared_tags = tags;
        });
        let overview = self.overview();
        #[expect(
            clippy::cast_precision_loss,
            clippy::as_conversions,
            reason = "gauges are floats"
        )]
        {
            metrics::gauge!(IMAGES.name).set(overview.images as f64);
            metrics::gauge!(WITHOUT.name).set(overview.images_without_layers as f64);
            metrics::gauge!(BLOBS.name).set(overview.blobs as f64);
            metrics::gauge!(STORED.name).set(overview.bytes as f64);
            metrics::gauge!(SHARED.name).set((objects + tags) as f64);
        }
        difference
    }
}

impl Shareable {
    /// The objects that peers may ask for by their digests alone.
    fn offered(&self) -> impl Iterator<Item = &Id> {
        let objects = self.objects.keys();
        objects.filter(|id| !self.hidden.contains(*id))
    }

    fn offers(&self, id: &Id) -> bool {
        self.objects.contains_key(id) && !self.hidden.contains(id)
    }
}

/// The tags that are offered.
fn tag_keys(table: &Shareable, tags: TagSharing) -> impl Iterator<Item = Key> {
    let names = table.tags.keys().filter(move |_| tags == TagSharing::On);
    names.filter_map(|name| name.parse().ok())
}

fn digest_key(id: &Id) -> Option<Key> {
    id.digest().as_str().parse().ok()
}
