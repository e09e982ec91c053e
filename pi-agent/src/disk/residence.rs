//! Whether a part of a file has its place in memory.
#![expect(unsafe_code, reason = "the system call has no safe wrapper")]

use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::fd::AsRawFd as _,
};

use rustix::{
    io::{ReadWriteFlags, preadv2},
    param::page_size,
};

use crate::http::Span;

/// The call's number, the same for all architectures that Rust knows.
const CACHESTAT: libc::c_long = 451;

/// `struct cachestat_range` of the kernel: bytes.
#[repr(C)]
struct Range {
    offset: u64,
    length: u64,
}

/// `struct cachestat` of the kernel: pages.
#[repr(C)]
#[derive(Default)]
struct Pages {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Whether all of it is in memory or on its way there.
pub(super) fn is_cached(file: &File, part: Span) -> bool {
    let Some(last) = part.end().checked_sub(1).filter(|_| !part.is_empty()) else {
        return true;
    };
    let page = u64::try_from(page_size()).unwrap_or(u64::MAX);
    match cached_pages(file, part) {
        Ok(cached) => cached > last / page - part.start() / page,
        // Before Linux 6.5: the two ends stand for all between them.
        Err(_) => is_at_hand(file, part.start()) && is_at_hand(file, last),
    }
}

fn cached_pages(file: &File, part: Span) -> io::Result<u64> {
    let range = Range {
        offset: part.start(),
        length: part.len(),
    };
    let mut pages = Pages::default();
    // SAFETY: the two structures are those of the call, and live longer than it.
    let result = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_raw_fd(),
            &raw const range,
            &raw mut pages,
            0,
        )
    };
    if result == 0 {
        Ok(pages.cached)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether a byte can be read without waiting. A file system that cannot tell is taken for one that
/// waits.
fn is_at_hand(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let room = &mut [IoSliceMut::new(&mut byte)];
    preadv2(file, room, offset, ReadWriteFlags::NOWAIT).is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rustix::fs::{Advice, fadvise};

    use super::*;

    #[test]
    fn only_what_lies_in_memory_is_cached() {
        let page = u64::try_from(page_size()).unwrap();
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let bytes = vec![7; usize::try_from(page * 16).unwrap()];
        file.write_all(&bytes).unwrap();
        assert!(is_cached(&file, Span::whole(page * 16)));
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        assert!(!is_cached(&file, Span::new(page * 3 + 1, page * 3 + 2)));
        assert!(is_cached(&file, Span::new(page, page)));
    }

    #[test]
    fn the_bytes_of_two_pages_are_in_two() {
        let page = u64::try_from(page_size()).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10]).unwrap();
        assert!(is_cached(&file, Span::new(1, 9)));
        assert!(!is_cached(&file, Span::new(9, page + 1)));
    }

    #[test]
    fn without_the_call_the_ends_are_asked() {
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all(&[7; 10]).unwrap();
        file.sync_all().unwrap();
        assert!(is_at_hand(&file, 0));
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        assert!(!is_at_hand(&file, 0));
    }
}
