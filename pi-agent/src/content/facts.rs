//! The state of the content, for status and doctor.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::inventory::Layers;

/// How the content store is seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Not at all, so far.
    #[default]
    Nothing,
    /// Its directory is watched.
    Inotify,
    /// Its directory is read every second.
    Polling,
    /// containerd lists it.
    Grpc,
}

/// The state of this node's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// How the content store is seen.
    pub access: Access,
    /// Whether containerd's events arrive.
    pub containerd_connected: bool,
    /// containerd's version, once it has answered.
    pub containerd_version: Option<String>,
    /// The last error of containerd.
    pub containerd_error: Option<String>,
    /// Images in the shared namespaces.
    pub images: usize,
    /// Blobs in the content store.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that peers may have.
    pub shared_objects: usize,
    /// Tags that peers may have.
    pub shared_tags: usize,
    /// Images without some of their layers: peers cannot get these layers from here.
    #[serde(default)]
    pub images_without_layers: usize,
    /// Whether that is so of most images: containerd discards layers after unpacking.
    #[serde(default)]
    pub layers_discarded: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Facts(Mutex<Overview>);

impl Facts {
    pub(crate) fn overview(&self) -> Overview {
        self.0.lock().clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Overview)) {
        change(&mut self.0.lock());
    }

    /// Notes how many images can be handed on; whether that is another state of the node.
    pub(crate) fn set_layers(&self, layers: Layers) -> bool {
        let mut overview = self.0.lock();
        overview.images_without_layers = layers.without;
        let discarded = layers.are_discarded();
        std::mem::replace(&mut overview.layers_discarded, discarded) != discarded
    }

    /// Notes how the store is seen; whether that is new.
    pub(crate) fn set_access(&self, access: Access) -> bool {
        let mut overview = self.0.lock();
        std::mem::replace(&mut overview.access, access) != access
    }
}
