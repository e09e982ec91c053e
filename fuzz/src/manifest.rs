//! Manifests, compared with what Go's decoder makes of them: containerd and registries read them by it.
//!
//! Whatever it takes is taken, and the children are the same. What it refuses may be taken: containerd does
//! not pull that.

use pi_agent::content::manifest::{Manifest, ManifestError, Role};

use crate::model::go::{Json, Refused, Slice};

/// The members that matter, as containerd's types declare them.
#[derive(Default)]
struct Document {
    media_type: String,
    manifests: Slice<Descriptor>,
    config: Descriptor,
    has_config: bool,
    layers: Slice<Descriptor>,
    blobs: Slice<Descriptor>,
    fs_layers: Slice<Descriptor>,
}

#[derive(Debug, Default, Clone)]
struct Descriptor {
    media_type: String,
    digest: String,
    size: i64,
}

pub(crate) fn check(bytes: &[u8]) {
    let read = Manifest::parse(bytes);
    if let Ok(manifest) = &read {
        for said in [manifest.inferred, "text/plain", "bad\r\nfield: x/y"] {
            let media_type = manifest.media_type(said);
            assert!(media_type.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
    let Ok(json @ Json::Object(_)) = Json::parse(bytes) else {
        return;
    };
    let mut document = Document::default();
    // A member of another type than it is declared with is an error to Go.
    if document.decode(&json).is_err() {
        return;
    }
    let is_single = document.has_config || !document.layers.is_nil() || !document.blobs.is_nil();
    let (children, of_index) = match (document.manifests.is_nil(), is_single) {
        (false, true) => {
            assert!(matches!(read, Err(ManifestError::Ambiguous)), "{read:?}");
            return;
        }
        (false, false) => (document.manifests.members().to_vec(), true),
        (true, true) => (document.parts(), false),
        (true, false) if !document.fs_layers.is_nil() => {
            (document.fs_layers.members().to_vec(), false)
        }
        (true, false) => {
            assert!(matches!(read, Err(ManifestError::Shape)), "{read:?}");
            return;
        }
    };
    let manifest = read.expect("Go's decoder takes it");
    let known = children
        .iter()
        .filter(|child| child.size >= 0 && is_digest(&child.digest));
    let known = known.map(|child| {
        let is_manifest = child.media_type.is_empty()
            || child.media_type.contains(".manifest.")
            || child.media_type.contains(".index.");
        let role = if of_index && is_manifest {
            Role::Manifest
        } else {
            Role::Blob
        };
        (
            child.digest.clone(),
            child.size.unsigned_abs(),
            readable(&child.media_type),
            role,
        )
    });
    let got = manifest.children.iter().map(|child| {
        let media_type = readable(&child.media_type);
        (child.digest.to_string(), child.size, media_type, child.role)
    });
    assert_eq!(got.collect::<Vec<_>>(), known.collect::<Vec<_>>());
    if let Some(stated) = manifest.stated {
        assert_eq!(stated, document.media_type);
    }
}

impl Document {
    fn decode(&mut self, json: &Json) -> Result<(), Refused> {
        json.decode_struct(|name, value| match name {
            "mediatype" => value.decode_string(&mut self.media_type),
            "manifests" => value.decode_slice(&mut self.manifests, Descriptor::decode),
            "config" => {
                self.has_config |= *value != Json::Null;
                self.config.decode(value)
            }
            "layers" => value.decode_slice(&mut self.layers, Descriptor::decode),
            "blobs" => value.decode_slice(&mut self.blobs, Descriptor::decode),
            "fslayers" => value.decode_slice(&mut self.fs_layers, Descriptor::decode_old),
            _ => Ok(()),
        })
    }

    fn parts(&self) -> Vec<Descriptor> {
        let mut parts = vec![self.config.clone()];
        parts.extend_from_slice(self.layers.members());
        parts.extend_from_slice(self.blobs.members());
        parts
    }
}

impl Descriptor {
    fn decode(&mut self, json: &Json) -> Result<(), Refused> {
        json.decode_struct(|name, value| match name {
            "mediatype" => value.decode_string(&mut self.media_type),
            "digest" => value.decode_string(&mut self.digest),
            "size" => value.decode_int64(&mut self.size),
            _ => Ok(()),
        })
    }

    /// A layer of the first schema.
    fn decode_old(&mut self, json: &Json) -> Result<(), Refused> {
        json.decode_struct(|name, value| match name {
            "blobsum" => value.decode_string(&mut self.digest),
            _ => Ok(()),
        })
    }
}

fn is_digest(text: &str) -> bool {
    let digits = match text.split_once(':') {
        Some(("sha256", digits)) if digits.len() == 64 => digits,
        Some(("sha512", digits)) if digits.len() == 128 => digits,
        _ => return false,
    };
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A text without what cannot be read: of how many characters that is, decoders think differently.
fn readable(text: &str) -> String {
    text.replace(char::REPLACEMENT_CHARACTER, "")
}
