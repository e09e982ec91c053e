//! Images made from real files of this machine, as an OCI layout in the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cache;

mod archive;
mod files;
mod grown;
mod layer;
mod manifest;

/// How a layer is packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packing {
    /// A tar file as it is.
    Tar,
    /// A tar file through gzip.
    Gzip,
}

/// One layer to be made.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Its packed size, about.
    pub kibibytes: u32,
    /// How it is packed.
    pub packing: Packing,
}

/// What an image is to be like. The same specification gives the same image.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// Tells images of the same shape apart: they then hold different files.
    pub name: String,
    /// One for each layer of each platform.
    pub layers: Vec<Layer>,
    /// For instance `amd64`; with more than one the image is an index.
    pub architectures: Vec<String>,
}

/// A blob of an image.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Blob {
    /// `sha256:...`
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its OCI media type.
    pub media_type: String,
}

/// One platform's part of an image.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Variant {
    /// For instance `amd64`.
    pub architecture: String,
    /// The manifest.
    pub manifest: Blob,
    /// The configuration.
    pub config: Blob,
    /// The layers, lowest first.
    pub layers: Vec<Blob>,
}

/// An image in the cache.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Image {
    directory: PathBuf,
    /// What a tag points at: a manifest, or an index of them.
    pub root: Blob,
    /// Its platforms.
    pub variants: Vec<Variant>,
}

impl ImageSpec {
    /// A small image for one platform: three layers, four MiB together.
    pub fn small(name: &str) -> Self {
        let layer = |kibibytes, packing| Layer { kibibytes, packing };
        Self {
            name: name.to_owned(),
            layers: vec![
                layer(2560, Packing::Tar),
                layer(1024, Packing::Gzip),
                layer(512, Packing::Tar),
            ],
            architectures: vec![host_architecture().to_owned()],
        }
    }

    /// Makes the image, or finds it in the cache.
    ///
    /// # Errors
    ///
    /// When the files of this machine cannot be read or do not suffice, or the cache not written.
    pub fn build(&self) -> Result<Image> {
        let fingerprint = hex::encode(Sha256::digest(format!("{self:?}")));
        let key = format!("image-{}", fingerprint.get(..16).unwrap_or(&fingerprint));
        let directory = cache::directory(&key, |partial| {
            let (root, variants) = manifest::write_layout(self, partial)
                .with_context(|| format!("making image {}", self.name))?;
            let image = Image {
                directory: PathBuf::new(),
                root,
                variants,
            };
            let text = serde_json::to_vec(&image).context("encoding an image's summary")?;
            fs::write(partial.join("image.json"), text).context("writing an image's summary")
        })?;
        let text = fs::read(directory.join("image.json")).context("reading an image's summary")?;
        let image: Image = serde_json::from_slice(&text).context("parsing an image's summary")?;
        Ok(Image { directory, ..image })
    }
}

impl Image {
    /// The bytes a node of this architecture has to fetch: index, manifest, configuration, layers.
    pub fn bytes(&self) -> u64 {
        self.native_blobs().map(|blob| blob.size).sum()
    }

    /// How many copies of what a node fetches these bytes are.
    #[expect(
        clippy::cast_precision_loss,
        clippy::as_conversions,
        reason = "a ratio for people"
    )]
    pub fn copies(&self, bytes: u64) -> f64 {
        bytes as f64 / self.bytes().max(1) as f64
    }

    /// The blobs a node of this architecture fetches.
    pub fn native_blobs(&self) -> impl Iterator<Item = &Blob> {
        let is_index = self.variants.len() > 1;
        let native = self
            .variants
            .iter()
            .find(|v| v.architecture == host_architecture());
        self.variants
            .iter()
            .filter(move |variant| Some(&variant.architecture) == native.map(|n| &n.architecture))
            .flat_map(|variant| {
                [&variant.manifest, &variant.config]
                    .into_iter()
                    .chain(&variant.layers)
            })
            .chain(is_index.then_some(&self.root))
    }

    /// Where the bytes of a blob lie.
    pub fn path(&self, blob: &Blob) -> PathBuf {
        blob_path(&self.directory, &blob.digest)
    }
}

/// What the OCI calls this machine's architecture.
pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn blob_path(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}
