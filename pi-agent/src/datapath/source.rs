//! Waiting for bytes of a source, and judging it by how they come.

use std::io;

use daemon::tls::Socket;
use tokio::time::{Instant, timeout_at};

use super::{floor::Floor, low_water::LowWater};

/// Why a source gave no more.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It ended the connection.
    #[error("the connection ended before the body did")]
    Ended,
    /// It delivers too little, or nothing.
    #[error("the body comes slower than the least rate")]
    Stalled,
    /// Reading failed.
    #[error("the body could not be read")]
    Read(#[source] io::Error),
}

/// Reads what there is, at least one byte.
pub(super) async fn read(
    source: &Socket,
    room: &mut [u8],
    floor: &mut Floor,
    water: &mut LowWater<'_>,
) -> Result<usize, SourceError> {
    loop {
        let read = match source.try_read(room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                water.waits();
                wait(source, floor, || source.read_now(room)).await?
            }
            result => Some(counted(result, floor)?),
        };
        match read {
            None => {}
            Some(0) => return Err(SourceError::Ended),
            Some(read) => return Ok(read),
        }
    }
}

/// What came without waiting.
pub(super) fn counted(result: io::Result<usize>, floor: &mut Floor) -> Result<usize, SourceError> {
    let taken = result.map_err(SourceError::Read)?;
    floor.add(u64::try_from(taken).unwrap_or(u64::MAX));
    Ok(taken)
}

/// Waits until the source is readable. Now and then the floor is checked, and `attempt` made
/// regardless of readiness, since a low-water mark hides a trickle.
pub(super) async fn wait(
    source: &Socket,
    floor: &mut Floor,
    attempt: impl FnOnce() -> io::Result<usize>,
) -> Result<Option<usize>, SourceError> {
    if let Ok(ready) = timeout_at(floor.next_check(), source.readable()).await {
        return ready.map(|()| None).map_err(SourceError::Read);
    }
    let taken = match attempt() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Ok(0) => return Ok(Some(0)),
        result => Some(result.map_err(SourceError::Read)?),
    };
    // Received bytes are judged before they are passed on; those of an abandoned source are
    // dropped.
    floor.add(taken.map_or(0, |taken| u64::try_from(taken).unwrap_or(u64::MAX)));
    let good = floor.check(Instant::now());
    good.then_some(taken).ok_or(SourceError::Stalled)
}
