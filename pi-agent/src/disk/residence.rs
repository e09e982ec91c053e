//! Whether a part of a file is in memory.
#![expect(unsafe_code, reason = "the system call has no safe wrapper")]

use std::{fs::File, io::IoSliceMut, os::fd::AsRawFd as _};

use rustix::{
    io::{Errno, ReadWriteFlags, preadv2},
    param::page_size,
};

use crate::http::Span;

/// The call's number on the architectures that agents run on.
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

/// Whether a part can be sent without waiting for the disk. Only both ends are checked: a cheap
/// check of every page between them does not exist, and files are mostly read in order.
pub(super) fn is_at_hand(file: &File, part: Span) -> bool {
    part.is_empty()
        || has_place(file, part)
            && has_arrived(file, part.start())
            && has_arrived(file, part.end() - 1)
}

/// Whether all of a part is in memory or on its way there; so too where the kernel does not tell:
/// before Linux 6.5, or where it may not.
pub(super) fn has_place(file: &File, part: Span) -> bool {
    let page = u64::try_from(page_size()).unwrap_or(u64::MAX);
    let all = part.end().div_ceil(page) - part.start() / page;
    cached_pages(file, part).is_none_or(|cached| cached >= all)
}

fn cached_pages(file: &File, part: Span) -> Option<u64> {
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
    (result == 0).then_some(pages.cached)
}

/// Whether a byte that has its place can be read without waiting; so too where the file system does not
/// tell, as one in memory does not.
fn has_arrived(file: &File, offset: u64) -> bool {
    let mut byte = [0];
    let room = &mut [IoSliceMut::new(&mut byte)];
    match preadv2(file, room, offset, ReadWriteFlags::NOWAIT) {
        Ok(count) => count == 1,
        Err(error) => error == Errno::OPNOTSUPP,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rustix::fs::{Advice, fadvise};

    use super::*;

    /// A file with the given number of pages on a disk, and the size of a page.
    fn file(pages: u64) -> (File, u64) {
        let page = u64::try_from(page_size()).unwrap();
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        // One by one, or the kernel keeps, and forgets, several as one.
        for _ in 0..pages {
            file.write_all(&vec![7; page_size()]).unwrap();
        }
        file.sync_all().unwrap();
        (file, page)
    }

    #[test]
    fn what_was_written_just_now_is_at_hand() {
        let (file, page) = file(16);
        assert!(is_at_hand(&file, Span::whole(page * 16)));
        assert!(is_at_hand(&file, Span::new(page * 3 + 1, page * 3 + 2)));
    }

    #[test]
    fn what_was_forgotten_is_not() {
        let (file, page) = file(16);
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        assert!(!is_at_hand(&file, Span::new(page * 3 + 1, page * 3 + 2)));
        assert!(is_at_hand(&file, Span::new(page, page)));
    }

    #[test]
    fn two_bytes_may_lie_in_two_pages() {
        let (file, page) = file(1);
        assert!(is_at_hand(&file, Span::new(page - 1, page)));
        assert!(!is_at_hand(&file, Span::new(page - 1, page + 1)));
    }

    #[test]
    fn the_ends_do_not_stand_for_what_is_between() {
        let (file, page) = file(16);
        let middle = std::num::NonZeroU64::new(page * 8);
        fadvise(&file, page * 4, middle, Advice::DontNeed).unwrap();
        let whole = Span::whole(page * 16);
        assert!(has_arrived(&file, 0) && has_arrived(&file, page * 16 - 1));
        // Where the kernel does not tell, the ends have to do.
        assert_eq!(
            is_at_hand(&file, whole),
            cached_pages(&file, whole).is_none()
        );
    }
}
