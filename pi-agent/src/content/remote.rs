//! Content that is read through containerd, where its files cannot be.

use super::manifest::MAX_MANIFEST;
use crate::{
    containerd::{Chunks, Containerd, ContainerdError, Namespace},
    digest::Digest,
    http::Span,
};

/// An object of containerd's store.
#[derive(Debug, Clone)]
pub struct Remote {
    containerd: Containerd,
    namespace: Namespace,
    digest: Digest,
}

impl Remote {
    /// Looks for an object in the shared namespaces; gives it with its length in bytes.
    pub(crate) async fn find(
        containerd: &Containerd,
        digest: &Digest,
    ) -> Result<Option<(Self, u64)>, ContainerdError> {
        for namespace in containerd.namespaces() {
            if let Some(info) = containerd.blob(namespace, digest).await? {
                let remote = Self {
                    containerd: containerd.clone(),
                    namespace: namespace.clone(),
                    digest: digest.clone(),
                };
                return Ok(Some((remote, info.size)));
            }
        }
        Ok(None)
    }

    /// Reads a part of it, piece by piece.
    pub(crate) async fn read(&self, span: Span) -> Result<Chunks, ContainerdError> {
        self.containerd
            .read(&self.namespace, &self.digest, span.start(), span.len())
            .await
    }

    /// Reads a part of it that is small into `bytes`.
    pub(crate) async fn read_into(
        &self,
        bytes: &mut Vec<u8>,
        span: Span,
    ) -> Result<(), ContainerdError> {
        let mut chunks = self.read(span).await?;
        let mut left = span.len();
        while let Some(chunk) = chunks.next().await? {
            left = left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            bytes.extend_from_slice(&chunk);
        }
        match left {
            0 => Ok(()),
            _ => Err(ContainerdError::Answer("last bytes")),
        }
    }
}

/// Reads a blob that may be a manifest; `None` where it is absent or too large to be one.
pub(crate) async fn read_manifest(
    containerd: &Containerd,
    digest: &Digest,
) -> Result<Option<Vec<u8>>, ContainerdError> {
    let Some((remote, size)) = Remote::find(containerd, digest).await? else {
        return Ok(None);
    };
    if size > MAX_MANIFEST {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    match remote.read_into(&mut bytes, Span::whole(size)).await {
        // containerd tells the size that the blob had when it was committed. What is left of it
        // since is judged like any other text.
        Ok(()) | Err(ContainerdError::Answer(_)) => Ok(Some(bytes)),
        Err(error) => Err(error),
    }
}
