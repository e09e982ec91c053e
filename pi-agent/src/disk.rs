//! Reads files without blocking the threads that move bytes: data in the page cache is read at
//! once, and data on the disk is awaited on a separate thread, with a deadline.

mod residence;

use std::{
    fs::File,
    io::{self, ErrorKind, IoSliceMut},
    os::unix::fs::FileExt as _,
    path::Path,
    time::Duration,
};

use daemon::metric::Metric;
use metrics::counter;
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::{Errno, ReadWriteFlags, preadv2},
};
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout},
};

use crate::http::Span;

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[READS];

const READS: Metric = Metric::counter(
    "piccolo_agent_disk_reads_total",
    &[(
        "outcome",
        "`done`, `failed`, `late` (not done after 30 seconds)",
    )],
    "Parts of objects of more than 64 KiB, a mebibyte each at most, that were to be sent and had to be \
     read from the disk first.",
);

/// Blocking threads that may read parts at the same time: a hung disk leaves the others to the rest
/// of the agent.
static READING: Semaphore = Semaphore::const_new(32);
/// Blocking threads that may open files, and read a little of them.
static FINDING: Semaphore = Semaphore::const_new(16);

/// Deadline for finding a file on the disk, or reading a little of it. A requester waits two
/// seconds for the first byte; after this deadline another node is faster.
const FIND: Duration = Duration::from_millis(900);
/// Deadline of the disk for a read before a send.
const READ: Duration = Duration::from_secs(30);
/// Bytes read at a time, only to load them into the page cache.
const PIECE: usize = 64 << 10;

/// Opens a file for reading, and gives its size.
///
/// # Errors
/// As those of [`File::open`], and when the disk takes too long.
pub(crate) async fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(opened) = at_once(path, OFlags::RDONLY) {
        return sized(opened?);
    }
    let path = path.to_owned();
    apart(&FINDING, FIND, move || sized(File::open(path)?)).await
}

/// Whether there is a file of this name, as far as the disk tells.
pub(crate) async fn exists(path: &Path) -> bool {
    if let Some(opened) = at_once(path, OFlags::PATH) {
        return opened.is_ok();
    }
    let path = path.to_owned();
    let found = apart(&FINDING, FIND, move || path.try_exists()).await;
    found.unwrap_or(false)
}

/// Opens a file or tells that there is none, where memory has the answer and the kernel is able to
/// look no further: Linux 5.12.
fn at_once(path: &Path, flags: OFlags) -> Option<io::Result<File>> {
    let flags = flags | OFlags::CLOEXEC;
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => Some(Ok(file.into())),
        Err(Errno::NOENT) => Some(Err(ErrorKind::NotFound.into())),
        Err(_) => None,
    }
}

fn sized(file: File) -> io::Result<(File, u64)> {
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// Fills `bytes` from a file.
///
/// # Errors
/// As those of [`read_exact_at`](std::os::unix::fs::FileExt::read_exact_at), and when the disk takes too long.
pub(crate) async fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    let wanted = bytes.len();
    let end = offset.saturating_add(u64::try_from(wanted).unwrap_or(u64::MAX));
    if residence::has_place(file, Span::new(offset, end)) {
        let room = &mut [IoSliceMut::new(bytes)];
        if preadv2(file, room, offset, ReadWriteFlags::NOWAIT) == Ok(wanted) {
            return Ok(());
        }
    }
    let file = file.try_clone()?;
    let read = apart(&FINDING, FIND, move || {
        let mut read = vec![0; wanted];
        file.read_exact_at(&mut read, offset)?;
        Ok(read)
    });
    bytes.copy_from_slice(&read.await?);
    Ok(())
}

/// Has a part of a file in memory, so that sending it does not wait for the disk, and gives how long
/// that took.
///
/// # Errors
/// When the file cannot be read, or the disk takes too long.
pub(crate) async fn load(file: &File, part: Span) -> io::Result<Duration> {
    if residence::is_at_hand(file, part) {
        return Ok(Duration::ZERO);
    }
    let begin = Instant::now();
    let file = file.try_clone()?;
    let read = apart(&READING, READ, move || read_through(&file, part)).await;
    let outcome = match &read {
        Ok(()) => "done",
        Err(error) if error.kind() == ErrorKind::TimedOut => "late",
        Err(_) => "failed",
    };
    counter!(READS.name, "outcome" => outcome).increment(1);
    read.map(|()| begin.elapsed())
}

fn read_through(file: &File, part: Span) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut offset = part.start();
    while offset < part.end() {
        let left = usize::try_from(part.end() - offset).unwrap_or(PIECE);
        let room = piece.get_mut(..left.min(PIECE)).unwrap_or_default();
        match file.read_at(room, offset) {
            // The sending finds out that it is shorter than it was.
            Ok(0) => return Ok(()),
            Ok(count) => offset += u64::try_from(count).unwrap_or(u64::MAX),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Runs blocking disk work on a thread of its own, within the bound of threads.
///
/// # Errors
/// Those of `work`, and [`ErrorKind::TimedOut`] after the deadline; the work continues then.
pub(crate) async fn apart<T: Send + 'static>(
    turns: &'static Semaphore,
    patience: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = async {
        let turn = turns.acquire().await.map_err(io::Error::other)?;
        let work = move || {
            let _turn = turn;
            work()
        };
        spawn_blocking(work).await?
    };
    match timeout(patience, done).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(
            ErrorKind::TimedOut,
            "the disk takes too long",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_too_long_is_told_and_holds_up_nobody_else() {
        static TURNS: Semaphore = Semaphore::const_new(2);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let patience = Duration::from_millis(50);
        let stuck = apart(&TURNS, patience, move || {
            let _ = wait.recv();
            Ok(())
        });
        let error = stuck.await.expect_err("it is not done");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(TURNS.available_permits(), 1);
        assert_eq!(
            apart(&TURNS, READ, || Ok(7))
                .await
                .expect("there are others"),
            7
        );
        drop(go);
    }

    #[tokio::test]
    async fn no_more_threads_wait_than_there_are() {
        static TURNS: Semaphore = Semaphore::const_new(3);
        let (go, wait) = tokio::sync::watch::channel(());
        let patience = Duration::from_millis(50);
        for _ in 0..3 {
            let wait = wait.clone();
            let stuck = apart(&TURNS, patience, move || {
                while wait.has_changed().is_ok() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            });
            assert!(
                tokio::time::timeout(Duration::from_millis(1), stuck)
                    .await
                    .is_err()
            );
        }
        assert!(apart(&TURNS, patience, || Ok(())).await.is_err());
        drop((go, wait));
        assert!(apart(&TURNS, READ, || Ok(())).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_apart_from_what_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a");
        assert!(!exists(&path).await);
        let error = open(&path).await.expect_err("there is none");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        std::fs::write(&path, b"abc").expect("it is written");
        assert!(exists(&path).await);
        let (file, size) = open(&path).await.expect("it is there");
        assert_eq!(size, 3);
        let mut bytes = [0; 2];
        read_exact_at(&file, &mut bytes, 1)
            .await
            .expect("it is read");
        assert_eq!(&bytes, b"bc");
        let error = read_exact_at(&file, &mut bytes, 2).await;
        assert_eq!(error.expect_err("it ends").kind(), ErrorKind::UnexpectedEof);
        load(&file, Span::whole(3)).await.expect("it is loaded");
    }
}
