//! What this node has: the way from a digest to the bytes of the content store.

use std::{fs::File, io, path::PathBuf, sync::Arc};

use crate::digest::Digest;

/// The node's content. Clones are the same.
#[derive(Debug, Clone)]
pub struct Content(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    blobs: PathBuf,
}

/// An object that is wholly in the content store.
#[derive(Debug)]
pub struct Object {
    /// What it is.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its media type where it is known: always for a manifest or index.
    pub media_type: Option<String>,
    /// Where its bytes are.
    pub source: Source,
}

/// Where an object's bytes come from.
#[derive(Debug)]
pub enum Source {
    /// A file of the content store. The open descriptor outlives the file's deletion.
    File(File),
}

/// A failure of this node's own store.
#[derive(Debug, thiserror::Error)]
#[error("{digest} could not be read from the content store")]
pub struct ContentError {
    digest: Digest,
    #[source]
    source: io::Error,
}

impl Content {
    /// The content store whose plugin directory is `root` (the one that holds `blobs` and
    /// `ingest`).
    pub fn new(root: PathBuf) -> Self {
        Self(Arc::new(Inner {
            blobs: root.join("blobs"),
        }))
    }

    /// Opens an object that this node has.
    ///
    /// # Errors
    /// When the store cannot be read; absence is `None`.
    pub async fn open(&self, digest: &Digest) -> Result<Option<Object>, ContentError> {
        let path = self.0.blobs.join(digest.algorithm()).join(digest.hex());
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((size, file)) => Ok(Some(Object {
                digest: digest.clone(),
                size,
                media_type: None,
                source: Source::File(file),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ContentError {
                digest: digest.clone(),
                source,
            }),
        }
    }
}
