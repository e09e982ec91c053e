//! From one socket to another without a look at the bytes.

use std::io;

use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{Floor, Patience, Tally, copy::copy_rest, low_water::LowWater, pipe::Pipe};

/// What a relay moved, and how it ended.
#[derive(Debug)]
pub struct Relayed {
    /// Bytes that the receiver's socket took.
    pub moved: u64,
    /// How it ended.
    pub end: End,
}

/// The end of a relay.
#[derive(Debug)]
pub enum End {
    /// All bytes were moved.
    Complete,
    /// The source failed. The receiver has every byte that came, and another source can go on
    /// behind them.
    Source(SourceError),
    /// The receiver failed.
    Sink(io::Error),
}

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

/// Moves `length` bytes from `source` to `sink` by splice, or by reads and writes where the kernel
/// does not splice.
pub(crate) async fn relay(
    source: &TcpStream,
    sink: &TcpStream,
    length: u64,
    floor: &mut Floor,
    patience: Patience,
    tally: &mut impl Tally,
) -> Relayed {
    let mut total = 0;
    let Ok(mut pipe) = Pipe::new() else {
        // Out of descriptors, most likely: reads and writes need none.
        return copy_rest(source, sink, length, floor, patience, tally).await;
    };
    let mut water = LowWater::new(source);
    let end = loop {
        if total == length {
            break End::Complete;
        }
        water.left(length - total);
        let filled = fill(&mut pipe, source, length - total, floor).await;
        if let Err(SourceError::Read(error)) = &filled
            && error.kind() == io::ErrorKind::InvalidInput
            && total == 0
        {
            drop(water);
            return copy_rest(source, sink, length, floor, patience, tally).await;
        }
        match filled {
            Ok(taken) => tally.came(taken),
            Err(error) => break End::Source(error),
        }
        match drain(&mut pipe, sink, floor, patience).await {
            Ok(bytes) => {
                total += bytes;
                tally.went(bytes);
            }
            Err(error) => break End::Sink(error),
        }
        tokio::task::coop::consume_budget().await;
    };
    Relayed { moved: total, end }
}

/// Waits for bytes and takes them into the empty pipe.
async fn fill(
    pipe: &mut Pipe,
    source: &TcpStream,
    most: u64,
    floor: &mut Floor,
) -> Result<u64, SourceError> {
    loop {
        let taken = match source.try_io(Interest::READABLE, || pipe.fill(source, most)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(source, floor, || pipe.fill(source, most)).await?
            }
            result => Some(counted(result, floor)?),
        };
        match taken {
            None => {}
            Some(0) => return Err(SourceError::Ended),
            Some(taken) => return Ok(u64::try_from(taken).unwrap_or(u64::MAX)),
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
    source: &TcpStream,
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
    // What came is judged before it is passed on; of a source that is given up it is not missed.
    floor.add(taken.map_or(0, |taken| u64::try_from(taken).unwrap_or(u64::MAX)));
    let good = floor.check(Instant::now());
    good.then_some(taken).ok_or(SourceError::Stalled)
}

/// Empties the pipe into the sink.
async fn drain(
    pipe: &mut Pipe,
    sink: &TcpStream,
    floor: &mut Floor,
    patience: Patience,
) -> io::Result<u64> {
    let mut given = 0;
    while pipe.held() > 0 {
        match sink.try_io(Interest::WRITABLE, || pipe.drain(sink)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => given += u64::try_from(bytes).unwrap_or(u64::MAX),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let since = Instant::now();
                patience.writable(sink).await?;
                floor.pause(since.elapsed());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(given)
}
