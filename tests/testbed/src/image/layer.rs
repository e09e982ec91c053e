//! Packs files into a layer of about a given size.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use super::files::{Files, RealFile};
use super::{Blob, Layer, Packing, blob_path};

/// A layer is full when less than this is missing.
const SLACK: u64 = 64 << 10;

/// A packed layer and the digest of its unpacked tar file.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) blob: Blob,
    pub(super) diff_id: String,
}

/// Counts and digests what passes.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

enum Stream {
    Tar(Hashing<BufWriter<File>>),
    Gzip {
        unpacked: Sha256,
        encoder: Box<GzEncoder<Hashing<BufWriter<File>>>>,
    },
}

/// Packs the next files that fit into a layer under `layout`; `title` makes it unlike any other.
pub(super) fn pack(layout: &Path, layer: Layer, title: &str, files: &mut Files) -> Result<Packed> {
    let partial = layout.join("layer.partial");
    let file = File::create(&partial).context("creating a layer")?;
    let mut archive = tar::Builder::new(Stream::new(layer.packing, file));
    let wanted = u64::from(layer.kibibytes) << 10;
    let mut first = header(u64::try_from(title.len())?, 0o644);
    archive.append_data(&mut first, "etc/testbed-layer", title.as_bytes())?;
    while archive.get_ref().bytes() + SLACK < wanted {
        let room = wanted - archive.get_ref().bytes();
        let file = files.find(|file| file.size <= room);
        let file = file.context("this machine has too few files under /usr for the image")?;
        append(&mut archive, &file).with_context(|| format!("packing {}", file.path.display()))?;
    }
    let (digest, diff_id, size) = archive.into_inner()?.finish()?;
    let media_type = match layer.packing {
        Packing::Tar => "application/vnd.oci.image.layer.v1.tar",
        Packing::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
    };
    fs::rename(&partial, blob_path(layout, &digest)).context("putting a layer in place")?;
    Ok(Packed {
        blob: Blob {
            digest,
            size,
            media_type: media_type.to_owned(),
        },
        diff_id,
    })
}

fn append(archive: &mut tar::Builder<Stream>, file: &RealFile) -> Result<()> {
    let mut content = Vec::new();
    // A file may have grown since it was listed.
    File::open(&file.path)?
        .take(file.size)
        .read_to_end(&mut content)?;
    ensure!(u64::try_from(content.len())? == file.size, "it has shrunk");
    let mut header = header(file.size, 0o755);
    let path = file
        .path
        .strip_prefix("/")
        .context("not an absolute path")?;
    archive.append_data(&mut header, path, content.as_slice())?;
    Ok(())
}

/// Nothing in it depends on when or by whom the layer is made.
fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

impl Stream {
    fn new(packing: Packing, file: File) -> Self {
        let packed = Hashing {
            inner: BufWriter::new(file),
            hash: Sha256::new(),
            bytes: 0,
        };
        match packing {
            Packing::Tar => Self::Tar(packed),
            Packing::Gzip => Self::Gzip {
                unpacked: Sha256::new(),
                encoder: Box::new(GzBuilder::new().mtime(0).write(packed, Compression::fast())),
            },
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Tar(packed) => packed.bytes,
            Self::Gzip { encoder, .. } => encoder.get_ref().bytes,
        }
    }

    /// Gives the digest, the unpacked digest and the packed size.
    fn finish(self) -> Result<(String, String, u64)> {
        let (packed, unpacked) = match self {
            Self::Tar(packed) => (packed, None),
            Self::Gzip { unpacked, encoder } => (encoder.finish()?, Some(unpacked)),
        };
        let Hashing {
            mut inner,
            hash,
            bytes,
        } = packed;
        inner.flush().context("writing a layer")?;
        let digest = show(hash);
        let diff_id = unpacked.map_or_else(|| digest.clone(), show);
        Ok((digest, diff_id, bytes))
    }
}

fn show(hash: Sha256) -> String {
    format!("sha256:{}", hex::encode(hash.finalize()))
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tar(packed) => packed.write(buffer),
            Self::Gzip { unpacked, encoder } => {
                let written = encoder.write(buffer)?;
                unpacked.update(buffer.get(..written).unwrap_or_default());
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hash.update(buffer.get(..written).unwrap_or_default());
        self.bytes += u64::try_from(written).map_err(io::Error::other)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
