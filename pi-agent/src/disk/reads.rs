//! Whether anything of this process is being read from the disk.
//!
//! What is on its way from the disk has its place in memory already, and nothing cheap tells it from
//! what has arrived. So nobody relies on that place while, or shortly after, something was read.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long what the kernel reads ahead may be on its way after the read that had it do so.
const SHORTLY: Duration = Duration::from_secs(1);

static READS: Mutex<Reads> = Mutex::new(Reads {
    under_way: 0,
    ended: None,
});

struct Reads {
    under_way: usize,
    ended: Option<Instant>,
}

/// A read, until it is dropped.
pub(super) struct Read(());

/// Whether something is being read, or was a moment ago.
pub(super) fn are_recent() -> bool {
    let reads = lock();
    let ended = reads.ended;
    reads.under_way > 0 || ended.is_some_and(|ended| ended.elapsed() < SHORTLY)
}

/// A read begins.
pub(super) fn begin() -> Read {
    lock().under_way += 1;
    Read(())
}

impl Drop for Read {
    fn drop(&mut self) {
        let mut reads = lock();
        reads.under_way -= 1;
        reads.ended = Some(Instant::now());
    }
}

fn lock() -> MutexGuard<'static, Reads> {
    READS.lock().unwrap_or_else(PoisonError::into_inner)
}
