//! The content store over gRPC, for where its files cannot be read, and for its labels.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use containerd_client::{
    services::v1::{
        InfoRequest, ListContentRequest, ReadContentRequest, ReadContentResponse,
        content_client::ContentClient,
    },
    tonic::{Streaming, transport::Channel},
};

use super::{Containerd, ContainerdError, MAX_REPLY, Namespace, found, within};
use crate::digest::Digest;

/// Longest wait for the next piece of a stream.
const PIECE_DEADLINE: Duration = Duration::from_secs(10);

/// What containerd knows of a blob.
#[derive(Debug, Clone)]
pub struct BlobInfo {
    /// Its length in bytes.
    pub size: u64,
    /// Its labels; `containerd.io/distribution.source.<registry>` says where it came from.
    pub labels: HashMap<String, String>,
}

/// The bytes of a blob, or of a part of it, piece by piece.
#[derive(Debug)]
pub struct Chunks {
    stream: Streaming<ReadContentResponse>,
    left: u64,
}

impl Containerd {
    /// What a namespace knows of a blob.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub async fn blob(
        &self,
        namespace: &Namespace,
        digest: &Digest,
    ) -> Result<Option<BlobInfo>, ContainerdError> {
        let request = namespace.request(InfoRequest {
            digest: digest.as_str().to_owned(),
        });
        let reply = found(within(self.content_client().info(request)).await)?;
        let Some(info) = reply.and_then(|reply| reply.info) else {
            return Ok(None);
        };
        let Ok(size) = u64::try_from(info.size) else {
            return Err(ContainerdError::Answer("size"));
        };
        Ok(Some(BlobInfo {
            size,
            labels: info.labels,
        }))
    }

    /// All blobs of a namespace with their sizes.
    ///
    /// # Errors
    /// When containerd does not answer, or stops in the middle.
    pub async fn blobs(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<(Digest, u64)>, ContainerdError> {
        let request = namespace.request(ListContentRequest::default());
        let mut stream = within(self.content_client().list(request)).await?;
        let mut blobs = Vec::new();
        loop {
            let Some(reply) = piece(&mut stream).await? else {
                return Ok(blobs);
            };
            blobs.extend(reply.info.into_iter().filter_map(|info| {
                Some((info.digest.parse().ok()?, u64::try_from(info.size).ok()?))
            }));
        }
    }

    /// Reads `length` bytes of a blob from `offset` on; both lie within the blob.
    ///
    /// # Errors
    /// When containerd does not answer.
    pub async fn read(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        offset: u64,
        length: u64,
    ) -> Result<Chunks, ContainerdError> {
        let number = |n| i64::try_from(n).unwrap_or(i64::MAX);
        let request = namespace.request(ReadContentRequest {
            digest: digest.as_str().to_owned(),
            offset: number(offset),
            size: number(length),
        });
        let stream = within(self.content_client().read(request)).await?;
        Ok(Chunks {
            stream,
            left: length,
        })
    }

    fn content_client(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel()).max_decoding_message_size(MAX_REPLY)
    }
}

impl Chunks {
    /// The next piece, never more in all than was asked for; `None` at the end.
    ///
    /// # Errors
    /// When the stream breaks or stalls.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ContainerdError> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some(reply) = piece(&mut self.stream).await? else {
            return Ok(None);
        };
        let mut piece = Bytes::from(reply.data);
        piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left = self
            .left
            .saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        Ok(Some(piece))
    }
}

async fn piece<T>(stream: &mut Streaming<T>) -> Result<Option<T>, ContainerdError> {
    match tokio::time::timeout(PIECE_DEADLINE, stream.message()).await {
        Ok(message) => Ok(message?),
        Err(_) => Err(ContainerdError::Deadline),
    }
}
