//! Waking up for many bytes at a time: the receive low-water mark, socket(7).
#![expect(unsafe_code, reason = "the socket option has no safe wrapper")]

use std::{mem::size_of, os::fd::AsRawFd as _};

use daemon::tls::Socket;

/// Bytes that are waited for. At the rates of production links bytes trickle in by the segment, and
/// waking up for each costs more than moving it.
const BATCH: u64 = 256 << 10;

/// Has a socket count as readable only once much of what is left to come is there; back to normal
/// when this is dropped. The end of the stream is always told at once.
#[derive(Debug)]
pub(super) struct LowWater<'a> {
    socket: &'a Socket,
    left: u64,
    mark: u64,
}

impl<'a> LowWater<'a> {
    pub(super) fn new(socket: &'a Socket) -> Self {
        Self {
            socket,
            left: 1,
            mark: 1,
        }
    }

    /// Sets the number of bytes left to come.
    pub(super) fn left(&mut self, bytes: u64) {
        self.left = bytes;
        self.waits();
    }

    /// The socket is going to be waited for.
    pub(super) fn waits(&mut self) {
        // Encrypted bytes are more than that, but for those that were taken from the kernel already.
        let held = u64::try_from(self.socket.held()).unwrap_or(u64::MAX);
        let mark = self.left.saturating_sub(held).clamp(1, BATCH);
        if mark != self.mark {
            self.mark = mark;
            self.set();
        }
    }

    /// A kernel that refuses wakes this process up more often, and that is all.
    fn set(&self) {
        let mark = libc::c_int::try_from(self.mark).unwrap_or(1);
        let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
        // SAFETY: the descriptor is open as long as the borrowed socket is, and the kernel reads
        // `length` bytes from the address of `mark`, which lives until the call returns.
        let _ = unsafe {
            libc::setsockopt(
                self.socket.tcp().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVLOWAT,
                (&raw const mark).cast(),
                length,
            )
        };
    }
}

impl Drop for LowWater<'_> {
    fn drop(&mut self) {
        if self.mark != 1 {
            self.mark = 1;
            self.set();
        }
    }
}
