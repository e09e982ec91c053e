//! What a manifest or index says of itself and of its children.

use serde::Deserialize;

use crate::digest::Digest;

/// An OCI image index.
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image manifest.
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A Docker manifest of schema 1, signed.
const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// Longest media type that is believed.
const MAX_MEDIA_TYPE: usize = 128;

/// An object that a manifest or index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Which object.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it is to its parent.
    pub role: Role,
}

/// What a child is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A manifest of an index, for a platform (`linux/amd64`) where that is said.
    Manifest(Option<String>),
    /// The config of an image.
    Config,
    /// A layer.
    Layer,
}

/// The members of manifests and indexes that matter here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    media_type: Option<String>,
    schema_version: Option<u64>,
    manifests: Option<Vec<Descriptor>>,
    layers: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    #[serde(default)]
    digest: String,
    #[serde(default)]
    size: u64,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

/// The media type of a manifest, by what stands in it: what it says itself, or else what its
/// members make it. `None` for anything that is no manifest.
pub fn media_type(bytes: &[u8]) -> Option<String> {
    let members: Members = serde_json::from_slice(bytes).ok()?;
    members.schema_version?;
    match members.media_type {
        Some(media_type) if is_media_type(&media_type) => Some(media_type),
        Some(_) => None,
        None => {
            let inferred = if members.manifests.is_some() {
                OCI_INDEX
            } else if members.layers.is_some() || members.config.is_some() {
                OCI_MANIFEST
            } else if members.schema_version == Some(1) {
                DOCKER_SCHEMA1
            } else {
                return None;
            };
            Some(inferred.to_owned())
        }
    }
}

/// The children of a manifest or index, the smallest roles first; none of anything else.
pub fn children(bytes: &[u8]) -> Vec<Child> {
    let Ok(members) = serde_json::from_slice::<Members>(bytes) else {
        return Vec::new();
    };
    let manifests = members.manifests.unwrap_or_default().into_iter().map(|d| {
        let platform = d.platform.as_ref();
        let platform = platform.map(|p| format!("{}/{}", p.os, p.architecture));
        (d, Role::Manifest(platform))
    });
    let config = members.config.into_iter().map(|d| (d, Role::Config));
    let layers = members.layers.unwrap_or_default().into_iter();
    manifests
        .chain(config)
        .chain(layers.map(|d| (d, Role::Layer)))
        .filter_map(|(descriptor, role)| {
            Some(Child {
                digest: descriptor.digest.parse().ok()?,
                size: descriptor.size,
                role,
            })
        })
        .collect()
}

/// The text goes into a header as it is, so it may hold nothing that ends one.
fn is_media_type(text: &str) -> bool {
    text.len() <= MAX_MEDIA_TYPE
        && text.contains('/')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/.+-_!#$&^; =\"".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::{Role, children, media_type};

    fn check(json: &str, expected: Option<&str>) {
        assert_eq!(media_type(json.as_bytes()).as_deref(), expected, "{json}");
    }

    #[test]
    fn says_what_it_is() {
        let docker = "application/vnd.docker.distribution.manifest.v2+json";
        check(
            &format!(r#"{{"schemaVersion":2,"mediaType":"{docker}","layers":[]}}"#),
            Some(docker),
        );
        check(r#"{"schemaVersion":2,"manifests":[]}"#, Some(super::OCI_INDEX));
        check(r#"{"schemaVersion":2,"layers":[]}"#, Some(super::OCI_MANIFEST));
        check(r#"{"schemaVersion":1,"fsLayers":[]}"#, Some(super::DOCKER_SCHEMA1));
        check(r#"{"schemaVersion":2}"#, None);
        check(r#"{"schemaVersion":2,"mediaType":"a/b\r\nX: y"}"#, None);
        check(r#"{"architecture":"amd64","config":{}}"#, None);
        check("", None);
        check("[1]", None);
    }

    #[test]
    fn names_its_children() {
        let hex = |c: &str| format!("sha256:{}", c.repeat(64));
        let (a, b) = (hex("a"), hex("b"));
        let json = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{a}","size":3}},
                "layers":[{{"digest":"{b}","size":9}},{{"digest":"md5:1","size":1}}]}}"#
        );
        let found = children(json.as_bytes());
        assert_eq!(found.len(), 2);
        assert!(matches!(found[0].role, Role::Config) && found[0].size == 3);
        assert!(matches!(found[1].role, Role::Layer) && found[1].digest.as_str() == b);
        let json = format!(
            r#"{{"manifests":[{{"digest":"{a}","size":3,
                "platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
        );
        let role = &children(json.as_bytes())[0].role;
        assert_eq!(*role, Role::Manifest(Some("linux/amd64".to_owned())));
        assert!(children(b"{").is_empty());
    }
}
