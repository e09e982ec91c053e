//! What containerd's configuration says of pulls: which part of it pulls, and whether it keeps the
//! layers.

use toml_edit::{Item, Table, TableLike};

use super::IMAGES;
use crate::hosts::release::Release;

/// Layers that are fetched at once unless the configuration says otherwise.
const DOWNLOADS: i64 = 3;

/// The settings that decide it, as far as they are set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulls {
    local: Option<bool>,
    discard: InBoth,
    no_annotations: InBoth,
    /// Whether a section of 1.x lists runtimes. containerd 2.x takes over a table of it only then.
    runtimes: bool,
    downloads: Option<i64>,
    sync: Option<bool>,
    old_registry: bool,
}

/// A setting that has its place in the section of 1.x and in that of 2.x.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct InBoth {
    old: Option<bool>,
    new: Option<bool>,
}

impl Pulls {
    /// Reads them from a file of `version`. In one of version 2, containerd 2.x knows its own section
    /// besides that of 1.x, which wins.
    pub(super) fn read(root: &Table, version: i64) -> Self {
        let plugin = |name: &str| {
            let plugins = root.get("plugins")?.as_table_like()?;
            plugins.get(name)?.as_table_like()
        };
        let old = match version {
            i64::MIN..=1 => plugin("cri"),
            2 => plugin("io.containerd.grpc.v1.cri"),
            _ => None,
        };
        let images = (version > 1).then(|| plugin(IMAGES)).flatten();
        let runtime = table(old, "containerd");
        let either = |old, key| item(old, key).or_else(|| item(images, key));
        let both = |key| InBoth {
            old: item(runtime, key).and_then(Item::as_bool),
            new: item(images, key).and_then(Item::as_bool),
        };
        let old_registry = [old, images].into_iter().any(|plugin| {
            let registry = table(plugin, "registry");
            ["mirrors", "configs", "auths"]
                .iter()
                .any(|key| table(registry, key).is_some_and(|table| !table.is_empty()))
        });
        Self {
            local: item(images, "use_local_image_pull").and_then(Item::as_bool),
            discard: both("discard_unpacked_layers"),
            no_annotations: both("disable_snapshot_annotations"),
            runtimes: table(runtime, "runtimes").is_some(),
            downloads: either(old, "max_concurrent_downloads").and_then(Item::as_integer),
            sync: either(old, "image_pull_with_sync_fs").and_then(Item::as_bool),
            old_registry,
        }
    }

    /// Takes over what a later file sets.
    pub(super) fn overlay(&mut self, later: Self) {
        self.local = later.local.or(self.local);
        self.discard.overlay(later.discard);
        self.no_annotations.overlay(later.no_annotations);
        self.runtimes |= later.runtimes;
        self.downloads = later.downloads.or(self.downloads);
        self.sync = later.sync.or(self.sync);
        self.old_registry |= later.old_registry;
    }

    /// Whether layers go once they are unpacked, so that the node has nothing for its peers; with a
    /// release that is not known, whether they do with any.
    pub fn discards(&self, release: Option<Release>) -> bool {
        match release {
            Some(release) => self.of(self.discard, release) == Some(true),
            None => [self.discard.old, self.discard.new].contains(&Some(true)),
        }
    }

    /// Whether the CRI plugin pulls even where the transfer service would: it is asked to, or
    /// something is set that only the plugin can do.
    pub fn local(&self) -> bool {
        let newer = Release::TRANSFER;
        self.local == Some(true)
            || self.of(self.discard, newer) == Some(true)
            || self.of(self.no_annotations, newer) == Some(false)
            || self.downloads.is_some_and(|count| count != DOWNLOADS)
            || self.sync == Some(true)
            || self.old_registry
    }

    /// What counts for a release.
    fn of(&self, setting: InBoth, release: Release) -> Option<bool> {
        if release < Release::IMAGES_PLUGIN {
            return setting.old;
        }
        setting.old.filter(|_| self.runtimes).or(setting.new)
    }
}

impl InBoth {
    fn overlay(&mut self, later: Self) {
        self.old = later.old.or(self.old);
        self.new = later.new.or(self.new);
    }
}

fn item<'a>(table: Option<&'a dyn TableLike>, key: &str) -> Option<&'a Item> {
    table?.get(key)
}

fn table<'a>(parent: Option<&'a dyn TableLike>, key: &str) -> Option<&'a dyn TableLike> {
    item(parent, key)?.as_table_like()
}
