//! From this node's memory and files to a socket: a file by `sendfile`, or by way of a buffer where it is
//! encrypted.

use std::{fs::File, io, os::unix::fs::FileExt as _, time::Duration};

use daemon::tls::Socket;
use rustix::{fs::sendfile, io::Errno};
use tokio::{io::Interest, time::Instant};

use super::{
    TURN,
    floor::Floor,
    low_water::LowWater,
    pace::Pace,
    source::{SourceError, read},
    wait::{Judge, Patience, Receiver},
};
use crate::{chunks::LABEL, disk, http::Span};

/// Why a file was not sent whole.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The file has fewer bytes than it had.
    #[error("the file ends early")]
    Short,
    /// The socket took no more, or the file could not be read: the call does not tell which.
    #[error("the file could not be sent")]
    Io(#[source] io::Error),
}

/// How long what was in memory is taken to be there still.
const MEMORY: Duration = Duration::from_secs(1);

/// Sends `span` of a file, at the pace that `pace` allows. `sent` is told of bytes as the socket
/// takes them.
///
/// # Errors
/// When not all of it was sent.
pub async fn send_file(
    socket: &Socket,
    file: &File,
    span: Span,
    pace: &Pace,
    receiver: Receiver,
    mut sent: impl FnMut(u64),
) -> Result<(), SendError> {
    let mut judge = receiver.judge();
    let mut offset = span.start();
    while offset < span.end() {
        let most = (span.end() - offset).min(pace.turn());
        judge.pause(pace.take(most).await);
        let part = Span::new(offset, offset + most);
        send_part(socket, file, part, &mut judge, &mut sent).await?;
        offset += most;
    }
    Ok(())
}

/// A file that is still being written.
pub(crate) trait Grows: Sync {
    /// Waits until the file goes on beyond `offset`, and gives what of it may be sent by then; `None`
    /// if it will not go on.
    fn next(&self, offset: u64) -> impl Future<Output = Option<Grown>> + Send;
}

/// What a file has grown by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grown {
    /// What goes before it.
    pub(crate) label: Option<[u8; LABEL]>,
    /// Where it ends.
    pub(crate) end: u64,
    /// Where what is sent next begins; not before `end`.
    pub(crate) next: u64,
}

/// [`send_file`] of a file that grows.
///
/// # Errors
/// As those of [`send_file`]; [`SendError::Short`] when the file will not go on.
pub(crate) async fn send_growing(
    socket: &Socket,
    file: &File,
    span: Span,
    pace: &Pace,
    receiver: Receiver,
    growth: &impl Grows,
    mut sent: impl FnMut(u64),
) -> Result<(), SendError> {
    let mut judge = receiver.judge();
    let mut offset = span.start();
    while offset < span.end() {
        let since = Instant::now();
        let grown = growth.next(offset).await;
        // Nothing was there to take.
        judge.pause(since.elapsed());
        let Some(Grown { label, end, next }) = grown.filter(|grown| grown.end > offset) else {
            return Err(SendError::Short);
        };
        if let Some(label) = label {
            let written = write_judged(socket, &label, &mut judge).await;
            written.map_err(SendError::Io)?;
            sent(u64::try_from(label.len()).unwrap_or(u64::MAX));
        }
        let end = end.min(span.end());
        while offset < end {
            let most = (end - offset).min(pace.turn());
            judge.pause(pace.take(most).await);
            let part = Span::new(offset, offset + most);
            send_part(socket, file, part, &mut judge, &mut sent).await?;
            offset += most;
        }
        offset = offset.max(next);
    }
    Ok(())
}

/// Sends a part that the pace allows.
async fn send_part(
    socket: &Socket,
    file: &File,
    part: Span,
    judge: &mut Judge,
    sent: &mut impl FnMut(u64),
) -> Result<(), SendError> {
    let mut offset = part.start();
    let mut looked: Option<Instant> = None;
    while offset < part.end() {
        let rest = Span::new(offset, part.end());
        if looked.is_none_or(|at| at.elapsed() > MEMORY) {
            judge.pause(disk::load(file, rest).await.map_err(SendError::Io)?);
            looked = Some(Instant::now());
        }
        let count = send_some(socket, file, rest, judge).await?;
        sent(count);
        offset += count;
    }
    flush(socket, judge).await.map_err(SendError::Io)?;
    tokio::task::coop::consume_budget().await;
    Ok(())
}

/// Sends as much of a part as the socket takes at once: nothing, if that had to be waited for.
async fn send_some(
    socket: &Socket,
    file: &File,
    part: Span,
    judge: &mut Judge,
) -> Result<u64, SendError> {
    let most = usize::try_from(part.len()).unwrap_or(TURN);
    let mut offset = part.start();
    let sent = match socket.as_plain() {
        Some(tcp) => tcp.try_io(Interest::WRITABLE, || {
            loop {
                match sendfile(tcp, file, Some(&mut offset), most) {
                    Err(Errno::INTR) => {}
                    result => return Ok(result?),
                }
            }
        }),
        // It is in memory, as above.
        None => socket.try_write_with(most, |room| file.read_at(room, offset)),
    };
    match sent {
        Ok(0) => Err(SendError::Short),
        Ok(count) => {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            judge.took(count);
            Ok(count)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let waited = judge.writable(socket).await;
            waited.map(|()| 0).map_err(SendError::Io)
        }
        Err(error) => Err(SendError::Io(error)),
    }
}

/// Writes bytes of this process's memory.
pub(crate) async fn write_all(
    socket: &Socket,
    mut bytes: &[u8],
    patience: Patience,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                patience.writable(socket).await?;
            }
            Err(error) => return Err(error),
        }
    }
    loop {
        match socket.try_flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                patience.writable(socket).await?;
            }
            flushed => return flushed,
        }
    }
}

/// [`write_all`] to a receiver that is judged.
pub(crate) async fn write_judged(
    socket: &Socket,
    mut bytes: &[u8],
    judge: &mut Judge,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                judge.took(u64::try_from(count).unwrap_or(u64::MAX));
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                judge.writable(socket).await?;
            }
            Err(error) => return Err(error),
        }
    }
    flush(socket, judge).await
}

/// Waits until the kernel has all that was written.
async fn flush(socket: &Socket, judge: &mut Judge) -> io::Result<()> {
    loop {
        match socket.try_flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                judge.writable(socket).await?;
            }
            flushed => return flushed,
        }
    }
}

/// Fills `room` from a socket. `got` is told of bytes as they come.
pub(crate) async fn read_exact(
    socket: &Socket,
    mut room: &mut [u8],
    floor: &mut Floor,
    mut got: impl FnMut(u64),
) -> Result<(), SourceError> {
    let mut water = LowWater::new(socket);
    while !room.is_empty() {
        let count = read(socket, room, floor, &mut water).await?;
        got(u64::try_from(count).unwrap_or(u64::MAX));
        room = room.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}
