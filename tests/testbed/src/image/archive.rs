//! An image that came as an archive of an OCI layout.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Blob, Image, Variant, blob_path};

/// The media types of what lists others: the OCI's, and the one it descends from.
const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    architecture: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Configuration {
    architecture: String,
}

impl Image {
    /// Unpacks an archive that holds one image, as `cargo xtask image` makes them, into a
    /// directory that is not there yet.
    ///
    /// # Errors
    ///
    /// When it cannot be unpacked, or holds something else.
    pub fn unpack(archive: &Path, directory: &Path) -> Result<Self> {
        let unpack = || {
            let file = File::open(archive).context("opening it")?;
            tar::Archive::new(file)
                .unpack(directory)
                .context("unpacking it")?;
            Self::open(directory)
        };
        unpack().with_context(|| format!("the image in {}", archive.display()))
    }

    fn open(directory: &Path) -> Result<Self> {
        let top = fs::read(directory.join("index.json")).context("reading its index")?;
        let top: Index = serde_json::from_slice(&top).context("its index")?;
        let only = top.manifests.into_iter().next();
        let root = only.context("its index names no image")?;
        let manifests = if INDEXES.contains(&root.media_type.as_str()) {
            read::<Index>(directory, &root.digest)?.manifests
        } else {
            vec![root.clone()]
        };
        let variants = manifests
            .into_iter()
            .map(|manifest| variant(directory, manifest));
        Ok(Self {
            directory: directory.to_owned(),
            variants: variants.collect::<Result<_>>()?,
            root: root.into(),
        })
    }
}

fn variant(directory: &Path, descriptor: Descriptor) -> Result<Variant> {
    let manifest: Manifest = read(directory, &descriptor.digest)?;
    let architecture = match &descriptor.platform {
        Some(platform) => platform.architecture.clone(),
        None => read::<Configuration>(directory, &manifest.config.digest)?.architecture,
    };
    Ok(Variant {
        architecture,
        manifest: descriptor.into(),
        config: manifest.config.into(),
        layers: manifest.layers.into_iter().map(Blob::from).collect(),
    })
}

fn read<T: for<'a> Deserialize<'a>>(directory: &Path, digest: &str) -> Result<T> {
    let bytes = fs::read(blob_path(directory, digest)).with_context(|| format!("blob {digest}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("blob {digest}"))
}

impl From<Descriptor> for Blob {
    fn from(descriptor: Descriptor) -> Self {
        Self {
            digest: descriptor.digest,
            size: descriptor.size,
            media_type: descriptor.media_type,
        }
    }
}
