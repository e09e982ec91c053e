//! An image archive as no registry would have it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The manifest's type; what it consists of is of types that nobody knows.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The longest manifest that a registry takes.
const LENGTH: usize = 4 << 20;

/// An artifact in an OCI layout, packed; one of its parts is missing.
pub(crate) struct Archive {
    pub(crate) file: PathBuf,
    pub(crate) manifest: String,
    pub(crate) config: String,
    pub(crate) part: String,
    pub(crate) missing: String,
}

impl Archive {
    /// Writes it into a directory.
    pub(crate) fn write(directory: &Path) -> Result<Self> {
        let layout = directory.join("artifact");
        fs::create_dir_all(layout.join("blobs/sha256"))?;
        let config = put(&layout, b"{}")?;
        let part = put(&layout, &vec![7; 100_000])?;
        let missing = digest(b"nobody has this");
        let kind = "application/vnd.example.weights";
        let manifest = |padding: usize| {
            json!({
                "schemaVersion": 2,
                "mediaType": MEDIA_TYPE,
                "artifactType": "application/vnd.example",
                "config": {
                    "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2
                },
                "layers": [
                    {"mediaType": kind, "digest": part, "size": 100_000},
                    {"mediaType": kind, "digest": missing, "size": 15},
                ],
                "annotations": {"padding": "x".repeat(padding)},
            })
            .to_string()
        };
        let manifest = manifest(LENGTH - manifest(0).len());
        let size = manifest.len();
        let manifest = put(&layout, manifest.as_bytes())?;
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": MEDIA_TYPE, "digest": manifest, "size": size,
                "annotations": {"org.opencontainers.image.ref.name": "v1"},
            }],
        });
        fs::write(layout.join("index.json"), index.to_string())?;
        fs::write(
            layout.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        let file = directory.join("artifact.tar");
        let status = Command::new("tar")
            .arg("-cf")
            .arg(&file)
            .arg("-C")
            .arg(&layout)
            .args(["oci-layout", "index.json", "blobs"])
            .status()
            .context("running tar")?;
        ensure!(status.success(), "tar failed ({status})");
        Ok(Self {
            file,
            manifest,
            config,
            part,
            missing,
        })
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn put(layout: &Path, bytes: &[u8]) -> Result<String> {
    let digest = digest(bytes);
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    fs::write(path, bytes).context("writing a part of an archive")?;
    Ok(digest)
}
