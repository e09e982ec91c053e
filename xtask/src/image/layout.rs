//! The OCI image layout: blobs by digest, and an index that names them.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Recipe;
use crate::dist::{Arch, Archive, Entry, Facts, gzip};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A layout that is being filled.
#[derive(Debug, Default)]
pub(super) struct Layout {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: Vec<Value>,
}

impl Layout {
    /// Adds the image of one architecture.
    pub(super) fn add_image(
        &mut self,
        facts: &Facts,
        recipe: Recipe,
        arch: Arch,
        layer: &[u8],
    ) -> Result<()> {
        let config = configuration(facts, recipe, arch, &digest(layer));
        let config = self.add(CONFIG, serde_json::to_vec(&config)?);
        let layer = self.add(LAYER, gzip(layer)?);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
            "annotations": labels(facts, recipe),
        });
        let mut manifest = self.add(MANIFEST, serde_json::to_vec(&manifest)?);
        manifest["platform"] = json!({ "os": "linux", "architecture": arch.oci() });
        self.manifests.push(manifest);
        Ok(())
    }

    /// Closes the layout and packs it. `name` is what the image is called after an import.
    pub(super) fn archive(mut self, facts: &Facts, name: &str) -> Result<Vec<u8>> {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": std::mem::take(&mut self.manifests),
        });
        let mut image = self.add(INDEX, serde_json::to_vec(&index)?);
        image["annotations"] = json!({
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": facts.version,
        });
        let top = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [image] });
        let mut archive = Archive::new(facts.epoch);
        archive.add(&Entry::file(
            "oci-layout",
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        ))?;
        archive.add(&Entry::file("index.json", &serde_json::to_vec(&top)?))?;
        archive.add(&Entry::directory("blobs"))?;
        archive.add(&Entry::directory("blobs/sha256"))?;
        for (digest, bytes) in &self.blobs {
            archive.add(&Entry::file(
                &format!("blobs/{}", digest.replace(':', "/")),
                bytes,
            ))?;
        }
        archive.plain()
    }

    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        self.blobs.insert(digest, bytes);
        descriptor
    }
}

fn configuration(facts: &Facts, recipe: Recipe, arch: Arch, layer: &str) -> Value {
    let ports: serde_json::Map<_, _> = recipe
        .ports
        .iter()
        .map(|port| (format!("{port}/tcp"), json!({})))
        .collect();
    json!({
        "created": facts.created,
        "architecture": arch.oci(),
        "os": "linux",
        "config": {
            "User": format!("{0}:{0}", recipe.user),
            "Entrypoint": [format!("/{}", recipe.program)],
            "Cmd": [recipe.command],
            "WorkingDir": recipe.directory,
            "ExposedPorts": ports,
            "Env": ["PATH=/"],
            "Labels": labels(facts, recipe),
        },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
        "history": [{ "created": facts.created, "created_by": "cargo xtask image" }],
    })
}

fn labels(facts: &Facts, recipe: Recipe) -> Value {
    json!({
        "org.opencontainers.image.title": recipe.program,
        "org.opencontainers.image.description": recipe.description,
        "org.opencontainers.image.version": facts.version,
        "org.opencontainers.image.revision": facts.commit,
        "org.opencontainers.image.created": facts.created,
        "org.opencontainers.image.licenses": "Apache-2.0",
    })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
