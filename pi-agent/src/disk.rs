//! Files, read on threads that have others to serve: what is in memory is there at once, and what has
//! to come from the disk is waited for on a thread of its own.

mod reads;
mod residence;

use std::{
    fs::File,
    io::{self, ErrorKind, IoSliceMut},
    num::NonZeroU64,
    os::unix::fs::FileExt as _,
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{Advice, CWD, Mode, OFlags, ResolveFlags, fadvise, openat2},
    io::{Errno, ReadWriteFlags, preadv2},
};
use tokio::{task::spawn_blocking, time::Instant};

use crate::http::Span;

/// Bytes read at a time, only to have them in memory.
const PIECE: usize = 64 << 10;
/// How far ahead the disk is to read, so that it is not at rest while a part is sent.
const AHEAD: NonZeroU64 = NonZeroU64::new(4 << 20).unwrap();

/// Opens a file for reading, and gives its size.
///
/// # Errors
/// As those of [`File::open`].
pub(crate) async fn open(path: &Path) -> io::Result<(File, u64)> {
    const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);
    // Linux 5.12 and later can refuse to wait; what they refuse, and all else, is tried again.
    match openat2(CWD, path, FLAGS, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => sized(file.into()),
        Err(Errno::NOENT) => Err(ErrorKind::NotFound.into()),
        Err(_) => {
            let path = path.to_owned();
            apart(move || sized(File::open(path)?)).await
        }
    }
}

fn sized(file: File) -> io::Result<(File, u64)> {
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// Fills `bytes` from a file.
///
/// # Errors
/// As those of [`FileExt::read_exact_at`].
pub(crate) async fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    let wanted = bytes.len();
    let at_once = preadv2(
        file,
        &mut [IoSliceMut::new(bytes)],
        offset,
        ReadWriteFlags::NOWAIT,
    );
    if at_once == Ok(wanted) {
        return Ok(());
    }
    let file = file.try_clone()?;
    let read = apart(move || {
        let mut read = vec![0; wanted];
        file.read_exact_at(&mut read, offset)?;
        Ok(read)
    });
    bytes.copy_from_slice(&read.await?);
    Ok(())
}

/// Has a part of a file in memory, so that sending it does not wait for the disk, and gives how long
/// that took. What cannot be read the sending finds out.
pub(crate) async fn load(file: &File, part: Span) -> Duration {
    if residence::is_cached(file, part) && !reads::are_recent() {
        return Duration::ZERO;
    }
    let begin = Instant::now();
    if let Ok(file) = file.try_clone() {
        let read = reads::begin();
        let through = move || {
            let _read = read;
            read_through(&file, part)
        };
        let _ = apart(through).await;
    }
    begin.elapsed()
}

fn read_through(file: &File, part: Span) -> io::Result<()> {
    // Advice only; a file system that takes none still reads.
    let _ = fadvise(file, part.start(), Some(AHEAD), Advice::WillNeed);
    let mut piece = vec![0; PIECE];
    let mut offset = part.start();
    while offset < part.end() {
        let left = usize::try_from(part.end() - offset).unwrap_or(PIECE);
        let room = piece.get_mut(..left.min(PIECE)).unwrap_or_default();
        match file.read_at(room, offset) {
            Ok(0) => return Ok(()),
            Ok(count) => offset += u64::try_from(count).unwrap_or(u64::MAX),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await?
}
