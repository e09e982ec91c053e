//! Reading manifests and indexes: what an image is made of.

use serde::Deserialize;

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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    media_type: Option<String>,
    manifests: Option<Vec<RawDescriptor>>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    blobs: Option<Vec<RawDescriptor>>,
    fs_layers: Option<Vec<RawLayer>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLayer {
    blob_sum: String,
}

impl Manifest {
    /// Reads a manifest. Children without a registered digest are left out: nobody can ask a
    /// mirror for them.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let raw: Raw = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
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
                let layers = layers.into_iter().map(|layer| RawDescriptor {
                    media_type: String::new(),
                    digest: layer.blob_sum,
                    size: 0,
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

fn children(raw: impl IntoIterator<Item = RawDescriptor>, role: Role) -> Vec<Descriptor> {
    let known = raw.into_iter().filter_map(|raw| {
        Some(Descriptor {
            digest: raw.digest.parse().ok()?,
            size: u64::try_from(raw.size).ok()?,
            media_type: raw.media_type,
            role,
        })
    });
    known.collect()
}

/// Whether the text can stand in a header: `type/subtype` in visible ASCII.
fn is_media_type(text: &str) -> bool {
    text.len() <= 255 && text.contains('/') && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Manifest, ManifestError, OCI_INDEX, OCI_MANIFEST, Role, SCHEMA1};

    fn digest(c: char) -> String {
        format!("sha256:{}", c.to_string().repeat(64))
    }

    fn check(json: &str, media_type: &str, children: &[(char, Role)]) {
        let manifest = Manifest::parse(json.as_bytes()).unwrap();
        assert_eq!(manifest.media_type(""), media_type);
        let got: Vec<_> = manifest
            .children
            .iter()
            .map(|c| (c.digest.to_string(), c.role))
            .collect();
        let want: Vec<_> = children.iter().map(|(c, r)| (digest(*c), *r)).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn reads_every_kind() {
        let (a, b, c) = (digest('a'), digest('b'), digest('c'));
        check(
            &format!(
                r#"{{"schemaVersion":2,"config":{{"digest":"{a}","size":1}},"layers":[{{"digest":"{b}","size":2,"mediaType":"x/y"}},{{"digest":"{c}","size":3}}]}}"#
            ),
            OCI_MANIFEST,
            &[('a', Role::Blob), ('b', Role::Blob), ('c', Role::Blob)],
        );
        check(
            &format!(
                r#"{{"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[{{"digest":"{a}","size":1}},{{"digest":"md5:x","size":1}}]}}"#
            ),
            "application/vnd.docker.distribution.manifest.list.v2+json",
            &[('a', Role::Manifest)],
        );
        check(r#"{"manifests":[]}"#, OCI_INDEX, &[]);
        check(
            &format!(r#"{{"blobs":[{{"digest":"{a}","size":1}}]}}"#),
            OCI_MANIFEST,
            &[('a', Role::Blob)],
        );
        check(
            &format!(r#"{{"fsLayers":[{{"blobSum":"{a}"}}]}}"#),
            SCHEMA1,
            &[('a', Role::Blob)],
        );
    }

    #[test]
    fn a_parent_says_what_a_manifest_does_not() {
        let manifest = Manifest::parse(br#"{"layers":[]}"#).unwrap();
        assert_eq!(
            manifest.media_type("application/vnd.other+json"),
            "application/vnd.other+json"
        );
        assert_eq!(manifest.media_type("bad\r\nheader: x/y"), OCI_MANIFEST);
    }

    #[test]
    fn refuses_what_is_none() {
        let error = |json: &str| Manifest::parse(json.as_bytes()).unwrap_err();
        assert!(matches!(error("{"), ManifestError::Json(_)));
        assert!(matches!(error(r#"{"layers":7}"#), ManifestError::Json(_)));
        assert!(matches!(
            error(r#"{"architecture":"amd64"}"#),
            ManifestError::Shape
        ));
        assert!(matches!(
            error(r#"{"manifests":[],"layers":[]}"#),
            ManifestError::Ambiguous
        ));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = Manifest::parse(&bytes);
        }

        #[test]
        fn never_panics_on_json(layers in proptest::collection::vec(("\\PC{0,20}", any::<i64>()), 0..8)) {
            let layers: Vec<_> = layers
                .into_iter()
                .map(|(digest, size)| serde_json::json!({"digest": digest, "size": size}))
                .collect();
            let json = serde_json::json!({"layers": layers}).to_string();
            prop_assert!(Manifest::parse(json.as_bytes()).is_ok());
        }
    }
}
