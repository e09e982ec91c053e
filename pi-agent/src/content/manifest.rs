//! Reading manifests and indexes: what an image is made of.

mod json;

use serde::de::MapAccess;

use self::json::{List, Members, Object, Place as _, Text, Whole, ignore, set};
use crate::digest::Digest;

/// Largest manifest that is read, as the distribution specification has registries take.
pub const MAX_MANIFEST: u64 = 4 << 20;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// A manifest or index, as far as its children go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The media type that it states.
    pub stated: Option<String>,
    /// The media type that its shape tells, where it states none.
    pub inferred: &'static str,
    /// What it refers to, in its order: manifests, or config and layers.
    pub children: Vec<Descriptor>,
}

/// A reference from a manifest to other content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// The digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its media type; empty where the manifest does not say.
    pub media_type: String,
    /// Whether it may have children of its own.
    pub role: Role,
}

/// What a child is to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A manifest or an index.
    Manifest,
    /// A config, a layer, or whatever an artifact holds.
    Blob,
}

/// Why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No JSON, or members of the wrong type.
    #[error("not the JSON of a manifest")]
    Json(#[source] serde_json::Error),
    /// Neither manifests nor config, layers or blobs.
    #[error("neither a manifest nor an index")]
    Shape,
    /// An index and a manifest in one, which two readers would interpret differently.
    #[error("both a manifest and an index")]
    Ambiguous,
}

#[derive(Default)]
struct Raw {
    media_type: Text,
    manifests: List<Object<RawDescriptor>>,
    config: Object<RawDescriptor>,
    layers: List<Object<RawDescriptor>>,
    blobs: List<Object<RawDescriptor>>,
    fs_layers: List<Object<RawLayer>>,
}

#[derive(Default)]
struct RawDescriptor {
    media_type: Text,
    digest: Text,
    size: Whole,
}

#[derive(Default)]
struct RawLayer {
    blob_sum: Text,
}

impl Members for Raw {
    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "mediatype" => set(&mut self.media_type, map),
            "manifests" => set(&mut self.manifests, map),
            "config" => set(&mut self.config, map),
            "layers" => set(&mut self.layers, map),
            "blobs" => set(&mut self.blobs, map),
            "fslayers" => set(&mut self.fs_layers, map),
            _ => ignore(map),
        }
    }
}

impl Members for RawDescriptor {
    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "mediatype" => set(&mut self.media_type, map),
            "digest" => set(&mut self.digest, map),
            "size" => set(&mut self.size, map),
            _ => ignore(map),
        }
    }
}

impl Members for RawLayer {
    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "blobsum" => set(&mut self.blob_sum, map),
            _ => ignore(map),
        }
    }
}

impl Manifest {
    /// Reads a manifest. Children without a registered digest are left out: nobody can ask a
    /// mirror for them.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        // Layers are told apart by their first byte.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(ManifestError::Shape);
        }
        // Go's decoder takes bytes that are no UTF-8 as well, which mostly stand in annotations.
        let text = String::from_utf8_lossy(bytes);
        let raw = Raw::of(&text).map_err(ManifestError::Json)?;
        let stated = Some(raw.media_type.0.clone()).filter(|text| is_media_type(text));
        let (inferred, children) = raw.children()?;
        Ok(Self {
            stated,
            inferred,
            children,
        })
    }

    /// The media type: what the manifest states, or what its parent says of it, or what its shape
    /// tells.
    pub fn media_type<'a>(&'a self, said: &'a str) -> &'a str {
        match &self.stated {
            Some(stated) => stated,
            None if is_media_type(said) => said,
            None => self.inferred,
        }
    }
}

impl Raw {
    fn of(text: &str) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let mut raw = Object::<Self>::default();
        raw.read(&mut reader)?;
        reader.end()?;
        Ok(raw.members)
    }

    /// What it refers to, and the media type that its shape tells.
    fn children(self) -> Result<(&'static str, Vec<Descriptor>), ManifestError> {
        let is_single = self.config.is_there || self.layers.is_there() || self.blobs.is_there();
        if self.manifests.is_there() {
            if is_single {
                return Err(ManifestError::Ambiguous);
            }
            let manifests = self.manifests.into_members();
            return Ok((OCI_INDEX, children(manifests, Role::Manifest)));
        }
        if is_single {
            let parts = Some(self.config).filter(|config| config.is_there);
            let parts = parts.into_iter().chain(self.layers.into_members());
            let parts = parts.chain(self.blobs.into_members());
            return Ok((OCI_MANIFEST, children(parts, Role::Blob)));
        }
        if self.fs_layers.is_there() {
            let layers = self.fs_layers.into_members().map(|layer| {
                let mut raw = Object::<RawDescriptor>::default();
                raw.members.digest = layer.members.blob_sum;
                raw
            });
            return Ok((SCHEMA1, children(layers, Role::Blob)));
        }
        Err(ManifestError::Shape)
    }
}

fn children(raw: impl Iterator<Item = Object<RawDescriptor>>, role: Role) -> Vec<Descriptor> {
    let known = raw.filter_map(|Object { members: raw, .. }| {
        let media_type = raw.media_type.0;
        Some(Descriptor {
            digest: raw.digest.0.parse().ok()?,
            size: u64::try_from(raw.size.0).ok()?,
            role: if is_manifest(&media_type) {
                role
            } else {
                Role::Blob
            },
            media_type,
        })
    });
    known.collect()
}

/// Whether an index's child of this type may be a manifest or an index: its type says so, or is not given.
/// The index of a build cache has layers as its children.
fn is_manifest(media_type: &str) -> bool {
    media_type.is_empty() || media_type.contains(".manifest.") || media_type.contains(".index.")
}

/// Whether the text can stand in a header: `type/subtype` in visible ASCII.
fn is_media_type(text: &str) -> bool {
    text.len() <= 255 && text.contains('/') && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
