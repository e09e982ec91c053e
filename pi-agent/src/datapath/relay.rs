//! From one socket to another without a look at the bytes.

use std::io;

use daemon::tls::Socket;
use tokio::{io::Interest, net::TcpStream, time::Instant};

use super::{
    copy::copy_rest,
    floor::Floor,
    low_water::LowWater,
    pipe::Pipe,
    relayed::{End, Relayed},
    source::{SourceError, counted, wait},
    tally::Tally,
    wait::Patience,
};

/// Moves `length` bytes from `source` to `sink` by splice, or by reads and writes where the kernel
/// does not splice, or one of them has TLS.
pub(crate) async fn relay(
    source: &Socket,
    sink: &Socket,
    length: u64,
    floor: &mut Floor,
    patience: Patience,
    tally: &mut impl Tally,
) -> Relayed {
    let mut total = 0;
    let kernel = source.as_plain().zip(sink.as_plain());
    // No pipe means out of descriptors, most likely: reads and writes need none.
    let pipe = kernel.and_then(|sockets| Some((sockets, Pipe::new().ok()?)));
    let Some(((from, to), mut pipe)) = pipe else {
        return copy_rest(source, sink, length, floor, patience, tally).await;
    };
    let mut water = LowWater::new(source);
    let end = loop {
        if total == length {
            break End::Complete;
        }
        water.left(length - total);
        let filled = fill(&mut pipe, (source, from), length - total, floor).await;
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
        match drain(&mut pipe, (sink, to), floor, patience).await {
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
    (source, from): (&Socket, &TcpStream),
    most: u64,
    floor: &mut Floor,
) -> Result<u64, SourceError> {
    loop {
        let taken = match from.try_io(Interest::READABLE, || pipe.fill(from, most)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(source, floor, || pipe.fill(from, most)).await?
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

/// Empties the pipe into the sink.
async fn drain(
    pipe: &mut Pipe,
    (sink, to): (&Socket, &TcpStream),
    floor: &mut Floor,
    patience: Patience,
) -> io::Result<u64> {
    let mut given = 0;
    while pipe.held() > 0 {
        match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
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
