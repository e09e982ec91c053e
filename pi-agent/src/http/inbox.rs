//! Reads heads from a connection and keeps the bytes after them.

use std::{error::Error, io};

use bytes::{Buf as _, BytesMut};
use daemon::tls::Socket;

use super::MAX_HEAD;

/// First and usual size of the buffer. Small, so that little of a body is read together with the
/// head and has to be copied.
const CHUNK: usize = 4 << 10;

/// Bytes that were read and not used yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    buffer: BytesMut,
}

/// Why there is no head.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeadError<E: Error + 'static> {
    /// The connection ended before the head's first byte.
    #[error("the connection ended before a head")]
    Closed,
    /// The connection ended within the head.
    #[error("the connection ended within a head")]
    Cut,
    /// Reading failed.
    #[error("the head could not be read")]
    Read(#[source] io::Error),
    /// The head does not end.
    #[error("the head is longer than {MAX_HEAD} bytes")]
    TooLong,
    /// The head is not understood.
    #[error(transparent)]
    Parse(E),
}

impl Inbox {
    /// Reads until `parse` has a head; returns it with its length.
    ///
    /// # Errors
    /// When there is no head. The caller sets the deadline.
    pub(crate) async fn head<T, E: Error + 'static>(
        &mut self,
        stream: &Socket,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
    ) -> Result<(T, usize), HeadError<E>> {
        loop {
            if !self.buffer.is_empty() {
                if let Some((head, length)) = parse(&self.buffer).map_err(HeadError::Parse)? {
                    // Whether it is one does not depend on how much came at a time.
                    if length > MAX_HEAD {
                        return Err(HeadError::TooLong);
                    }
                    self.buffer.advance(length);
                    return Ok((head, length));
                }
                if self.buffer.len() >= MAX_HEAD {
                    return Err(HeadError::TooLong);
                }
            }
            let empty = self.buffer.is_empty();
            match self.fill(stream).await {
                Ok(0) if empty => return Err(HeadError::Closed),
                Ok(0) => return Err(HeadError::Cut),
                Ok(_) => {}
                // One that was cut off between two heads has told nothing either.
                Err(error)
                    if empty
                        && matches!(
                            error.kind(),
                            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof
                        ) =>
                {
                    return Err(HeadError::Closed);
                }
                Err(error) => return Err(HeadError::Read(error)),
            }
        }
    }

    /// Waits for the first bytes of a head; returns whether there are some.
    pub(crate) async fn begin(&mut self, stream: &Socket) -> bool {
        matches!(self.fill(stream).await, Ok(1..))
    }

    /// Takes up to `most` bytes of those after the head.
    pub(crate) fn take(&mut self, most: u64) -> BytesMut {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.buffer.split_to(most.min(self.buffer.len()))
    }

    /// How many bytes were read and not used.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    async fn fill(&mut self, stream: &Socket) -> io::Result<usize> {
        loop {
            // Waiting comes first, so that an idle connection holds no memory.
            stream.readable().await?;
            let before = self.buffer.len();
            self.buffer.resize(before + CHUNK, 0);
            let room = self.buffer.get_mut(before..).unwrap_or_default();
            let read = stream.try_read(room);
            let came = read.as_ref().copied().unwrap_or(0);
            self.buffer.truncate(before + came);
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}
