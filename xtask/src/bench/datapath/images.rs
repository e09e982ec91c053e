//! Images whose layers are only to be moved, straight into a containerd.

use std::io::{self, Read as _, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// An image's blobs by what they are for.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Made {
    pub(in crate::bench) manifest: String,
    pub(in crate::bench) layers: Vec<String>,
    /// The sizes of the layers, in bytes.
    pub(in crate::bench) sizes: Vec<u64>,
}

/// A layer, with its size in KiB; no two numbers give the same bytes.
#[derive(Debug, Clone, Copy)]
pub(in crate::bench) struct Bytes {
    pub(in crate::bench) number: u64,
    pub(in crate::bench) kibibytes: u64,
}

const KIBIBYTE: usize = 1 << 10;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const NAME: &str = "io.containerd.image.name";

/// Imports one image for each list of layers, without unpacking them. `first` numbers the images.
pub(in crate::bench) fn import(
    socket: &Path,
    first: usize,
    images: &[Vec<Bytes>],
) -> Result<Vec<Made>> {
    let mut child = Command::new("ctr")
        .arg("--address")
        .arg(socket)
        .args(["--namespace", "k8s.io", "images", "import", "--no-unpack"])
        .args(["--all-platforms", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("starting ctr")?;
    let pipe = child.stdin.take().context("ctr has no standard input")?;
    let made = write(tar::Builder::new(io::BufWriter::new(pipe)), first, images);
    let status = child.wait().context("waiting for ctr")?;
    ensure!(
        status.success(),
        "ctr could not import the images ({status})"
    );
    made
}

fn write<W: Write>(
    mut archive: tar::Builder<W>,
    first: usize,
    images: &[Vec<Bytes>],
) -> Result<Vec<Made>> {
    append(
        &mut archive,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    let mut made = Vec::new();
    let mut entries = Vec::new();
    for (number, layers) in (first..).zip(images) {
        let mut descriptors = Vec::new();
        for layer in layers {
            let (digest, size) = layer.write(&mut archive)?;
            descriptors.push(json!({"mediaType": LAYER, "digest": digest, "size": size}));
        }
        let digests: Vec<String> = descriptors
            .iter()
            .filter_map(|layer| Some(layer.get("digest")?.as_str()?.to_owned()))
            .collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "author": number.to_string(),
            "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let config = blob(&mut archive, CONFIG, &config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": descriptors,
        });
        let mut entry = blob(&mut archive, MANIFEST, &manifest)?;
        let digest = entry.get("digest").and_then(|digest| digest.as_str());
        made.push(Made {
            manifest: digest.context("a manifest without a digest")?.to_owned(),
            layers: digests,
            sizes: layers.iter().map(|layer| layer.kibibytes << 10).collect(),
        });
        let name = format!("registry.test/bench/image{number}:v1");
        if let Some(entry) = entry.as_object_mut() {
            entry.insert("annotations".to_owned(), json!({NAME: name}));
        }
        entries.push(entry);
    }
    let index = json!({"schemaVersion": 2, "manifests": entries});
    append(&mut archive, "index.json", index.to_string().as_bytes())?;
    archive.into_inner()?.flush().context("writing to ctr")?;
    Ok(made)
}

/// Writes JSON as a blob and gives its descriptor.
fn blob<W: Write>(
    archive: &mut tar::Builder<W>,
    media_type: &str,
    value: &serde_json::Value,
) -> Result<serde_json::Value> {
    let bytes = value.to_string();
    let hex = hex::encode(Sha256::digest(&bytes));
    append(archive, &format!("blobs/sha256/{hex}"), bytes.as_bytes())?;
    let digest = format!("sha256:{hex}");
    Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
}

fn append<W: Write>(archive: &mut tar::Builder<W>, path: &str, bytes: &[u8]) -> Result<()> {
    let size = u64::try_from(bytes.len())?;
    let added = archive.append_data(&mut header(size), path, bytes);
    added.context("writing to ctr")
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header
}

impl Bytes {
    fn write<W: Write>(self, archive: &mut tar::Builder<W>) -> Result<(String, u64)> {
        let mut block = vec![0; KIBIBYTE];
        io::repeat(0x5a).read_exact(&mut block)?;
        if let Some(start) = block.get_mut(..8) {
            start.copy_from_slice(&self.number.to_be_bytes());
        }
        let mut hash = Sha256::new();
        for _ in 0..self.kibibytes {
            hash.update(&block);
        }
        let hex = hex::encode(hash.finalize());
        let size = self.kibibytes << 10;
        let content = Repeated {
            block: &block,
            at: 0,
        };
        let path = format!("blobs/sha256/{hex}");
        let added = archive.append_data(&mut header(size), path, content.take(size));
        added.context("writing a layer to ctr")?;
        Ok((format!("sha256:{hex}"), size))
    }
}

/// The same block again and again.
struct Repeated<'a> {
    block: &'a [u8],
    at: usize,
}

impl io::Read for Repeated<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.block.get(self.at..).unwrap_or_default();
        let count = rest.read(room)?;
        self.at = (self.at + count) % self.block.len();
        Ok(count)
    }
}
