//! Writes the JSON parts of an image beside its layers.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::files::Files;
use super::layer::{self, Packed};
use super::{Blob, ImageSpec, Variant, blob_path};

const CREATED: &str = "2024-01-01T00:00:00Z";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Writes all blobs of the image; gives what its tag points at, and its platforms.
pub(super) fn write_layout(spec: &ImageSpec, layout: &Path) -> Result<(Blob, Vec<Variant>)> {
    fs::create_dir_all(layout.join("blobs/sha256")).context("making an image layout")?;
    let mut files = Files::of_this_machine();
    let mut variants = Vec::new();
    for architecture in &spec.architectures {
        variants.push(write_variant(spec, layout, architecture, &mut files)?);
    }
    let root = match variants.as_slice() {
        [] => bail!("an image without a platform"),
        [only] => only.manifest.clone(),
        several => write_index(layout, several)?,
    };
    Ok((root, variants))
}

fn write_variant(
    spec: &ImageSpec,
    layout: &Path,
    architecture: &str,
    files: &mut Files,
) -> Result<Variant> {
    let mut packed = Vec::new();
    for (number, layer) in spec.layers.iter().enumerate() {
        let title = format!("{} {architecture} {number}\n", spec.name);
        packed.push(layer::pack(layout, *layer, &title, files)?);
    }
    let config = write_blob(layout, CONFIG, &config(architecture, &packed))?;
    let layers: Vec<Blob> = packed.into_iter().map(|packed| packed.blob).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(&config),
        "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
    });
    let manifest = write_blob(layout, MANIFEST, &manifest)?;
    Ok(Variant {
        architecture: architecture.to_owned(),
        manifest,
        config,
        layers,
    })
}

fn config(architecture: &str, packed: &[Packed]) -> Value {
    let history = json!({"created": CREATED, "created_by": "testbed"});
    json!({
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": {"Env": ["PATH=/usr/bin"], "Entrypoint": ["/usr/bin/true"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": packed.iter().map(|packed| &packed.diff_id).collect::<Vec<_>>(),
        },
        "history": vec![history; packed.len()],
    })
}

fn write_index(layout: &Path, variants: &[Variant]) -> Result<Blob> {
    let manifests = variants.iter().map(|variant| {
        let mut entry = descriptor(&variant.manifest);
        if let Some(entry) = entry.as_object_mut() {
            let platform = json!({"architecture": variant.architecture, "os": "linux"});
            entry.insert("platform".to_owned(), platform);
        }
        entry
    });
    let manifests: Vec<_> = manifests.collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    write_blob(layout, INDEX, &index)
}

pub(super) fn descriptor(blob: &Blob) -> Value {
    json!({"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size})
}

pub(super) fn write_blob(layout: &Path, media_type: &str, content: &Value) -> Result<Blob> {
    let bytes = serde_json::to_vec_pretty(content).context("encoding a part of an image")?;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
    fs::write(blob_path(layout, &digest), &bytes).context("writing a part of an image")?;
    let size = u64::try_from(bytes.len()).context("the size of a part of an image")?;
    Ok(Blob {
        digest,
        size,
        media_type: media_type.to_owned(),
    })
}
