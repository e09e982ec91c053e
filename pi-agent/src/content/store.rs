//! The files of containerd's content store: where they are and how they are read.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{id::Id, manifest::MAX_MANIFEST};
use crate::{digest::Digest, disk};

/// The algorithms that have a directory.
pub(crate) const ALGORITHMS: [&str; 2] = ["sha256", "sha512"];

/// A content store's directory: the one that holds `blobs` and `ingest`.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn ingests(&self) -> PathBuf {
        self.root.join("ingest")
    }

    pub(crate) async fn has(&self, digest: &Digest) -> bool {
        disk::exists(&self.blob(digest)).await
    }

    /// Where a blob lies.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.algorithm()).join(digest.hex())
    }

    /// Opens a blob; `None` where it is not there.
    pub(crate) async fn open(&self, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        match disk::open(&self.blob(digest)).await {
            Ok(opened) => Ok(Some(opened)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a blob that may be a manifest; `None` where it is not there or too large to be one.
    pub(crate) async fn read_manifest(&self, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        let Some((file, size)) = self.open(digest).await? else {
            return Ok(None);
        };
        if size > MAX_MANIFEST {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        disk::read_exact_at(&file, &mut bytes, 0).await?;
        Ok(Some(bytes))
    }

    /// The size of one blob; `None` where it is gone.
    pub(crate) fn size(&self, algorithm: &str, hex: &str) -> Option<u64> {
        let metadata = fs::metadata(self.blobs().join(algorithm).join(hex)).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// All blobs with their sizes.
    ///
    /// # Errors
    /// `NotFound` where the store itself is missing; a store without blobs yet is empty.
    pub(crate) fn scan(&self) -> io::Result<HashMap<Id, u64>> {
        fs::metadata(&self.root)?;
        let mut blobs = HashMap::new();
        for algorithm in ALGORITHMS {
            let entries = match fs::read_dir(self.blobs().join(algorithm)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let id = name
                    .to_str()
                    .and_then(|hex| Id::from_file_name(algorithm, hex));
                // A blob may vanish between the listing and the look at it.
                if let (Some(id), Ok(metadata)) = (id, entry.metadata()) {
                    blobs.insert(id, metadata.len());
                }
            }
        }
        Ok(blobs)
    }
}
