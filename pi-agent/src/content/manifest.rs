//! Reading manifests and indexes: what an image is made of.

mod json;

use serde::de::MapAccess;

use self::json::{Members, Object, ignore, set};
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
    media_type: Option<String>,
    manifests: Option<Vec<Object<RawDescriptor>>>,
    config: Option<Object<RawDescriptor>>,
    layers: Option<Vec<Object<RawDescriptor>>>,
    blobs: Option<Vec<Object<RawDescriptor>>>,
    fs_layers: Option<Vec<Object<RawLayer>>>,
}

#[derive(Default)]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: i64,
}

#[derive(Default)]
struct RawLayer {
    blob_sum: String,
}

impl Members for Raw {
    fn take<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "mediatype" => {
                let said: Option<_> = map.next_value()?;
                self.media_type = said.or(self.media_type.take());
            }
            "manifests" => self.manifests = map.next_value()?,
            "config" => self.config = map.next_value()?,
            "layers" => self.layers = map.next_value()?,
            "blobs" => self.blobs = map.next_value()?,
            "fslayers" => self.fs_layers = map.next_value()?,
            _ => ignore(map)?,
        }
        Ok(())
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
        let Object(raw): Object<Raw> = serde_json::from_str(&text).map_err(ManifestError::Json)?;
        let single = raw.config.is_some() || raw.layers.is_some() || raw.blobs.is_some();
        let (inferred, children) = match (raw.manifests, single, raw.fs_layers) {
            (Some(_), true, _) => return Err(ManifestError::Ambiguous),
            (Some(manifests), false, _) => (OCI_INDEX, children(manifests, Role::Manifest)),
            (None, true, _) => {
                let parts = raw.config.into_iter();
                let parts = parts.chain(raw.layers.into_iter().flatten());
                let parts = parts.chain(raw.blobs.into_iter().flatten());
                (OCI_MANIFEST, children(parts, Role::Blob))
            }
            (None, false, Some(layers)) => {
                let layers = layers.into_iter().map(|Object(layer)| {
                    Object(RawDescriptor {
                        digest: layer.blob_sum,
                        ..RawDescriptor::default()
                    })
                });
                (SCHEMA1, children(layers, Role::Blob))
            }
            (None, false, None) => return Err(ManifestError::Shape),
        };
        Ok(Self {
            stated: raw.media_type.filter(|text| is_media_type(text)),
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

fn children(raw: impl IntoIterator<Item = Object<RawDescriptor>>, role: Role) -> Vec<Descriptor> {
    let known = raw.into_iter().filter_map(|Object(raw)| {
        Some(Descriptor {
            digest: raw.digest.parse().ok()?,
            size: u64::try_from(raw.size).ok()?,
            role: if is_manifest(&raw.media_type) {
                role
            } else {
                Role::Blob
            },
            media_type: raw.media_type,
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
