//! An image with more layers than the one it is made from, of bytes that no other image has.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::manifest::{CONFIG, MANIFEST, descriptor, write_blob};
use super::{Blob, Image, Variant, blob_path};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

impl Image {
    /// Writes, into a directory that is not there yet, this image of one platform with a layer of
    /// random bytes for each of `layers`, which are sizes in KiB. It does what this one does.
    ///
    /// # Errors
    ///
    /// When there are more platforms, or a file cannot be read or written.
    pub fn grow(&self, layers: &[u32], directory: &Path) -> Result<Self> {
        let [from] = self.variants.as_slice() else {
            anyhow::bail!("only an image of one platform can be grown");
        };
        fs::create_dir_all(directory.join("blobs/sha256")).context("making an image layout")?;
        for layer in &from.layers {
            fs::copy(self.path(layer), blob_path(directory, &layer.digest))
                .context("copying a layer")?;
        }
        let mut all = from.layers.clone();
        for (number, kibibytes) in layers.iter().enumerate() {
            all.push(random_layer(directory, number, *kibibytes)?);
        }
        let config = fs::read(self.path(&from.config)).context("reading a configuration")?;
        let mut config: Value = serde_json::from_slice(&config).context("a configuration")?;
        // They are not packed, so that their digests are those of what is in them.
        ensure!(
            from.layers.iter().all(|layer| layer.media_type == LAYER),
            "a packed layer cannot be named again"
        );
        let digests: Vec<_> = all.iter().map(|layer| &layer.digest).collect();
        *config
            .pointer_mut("/rootfs/diff_ids")
            .context("a configuration without layers")? = json!(digests);
        let config = write_blob(directory, CONFIG, &config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(&config),
            "layers": all.iter().map(descriptor).collect::<Vec<_>>(),
        });
        let manifest = write_blob(directory, MANIFEST, &manifest)?;
        Ok(Self {
            directory: directory.to_owned(),
            root: manifest.clone(),
            variants: vec![Variant {
                architecture: from.architecture.clone(),
                manifest,
                config,
                layers: all,
            }],
        })
    }
}

fn random_layer(directory: &Path, number: usize, kibibytes: u32) -> Result<Blob> {
    let mut random = Vec::new();
    File::open("/dev/urandom")
        .context("opening /dev/urandom")?
        .take(u64::from(kibibytes) << 10)
        .read_to_end(&mut random)
        .context("reading random bytes")?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(u64::try_from(random.len())?);
    archive.append_data(&mut header, format!("data-{number}"), random.as_slice())?;
    let layer = archive.into_inner().context("packing a layer")?;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
    fs::write(blob_path(directory, &digest), &layer).context("writing a layer")?;
    Ok(Blob {
        digest,
        size: u64::try_from(layer.len())?,
        media_type: LAYER.to_owned(),
    })
}
