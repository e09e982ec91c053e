//! The kernel's counters of one socket: `getsockopt(TCP_INFO)`, tcp(7).
#![expect(unsafe_code, reason = "the socket option has no safe wrapper")]

use std::{
    io,
    mem::{MaybeUninit, size_of},
    os::fd::{AsRawFd, BorrowedFd},
};

/// The first fields of the kernel's `struct tcp_info` (include/uapi/linux/tcp.h), up to the last
/// one used. Fields are only ever added at its end; an older kernel fills in less.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Raw {
    state: u8,
    _small: [u8; 7],
    _timers_and_segments: [u32; 15],
    rtt_us: u32,
    _windows: [u32; 7],
    total_retrans: u32,
    _pacing: [u64; 2],
    bytes_acked: u64,
    bytes_received: u64,
    _segments: [u32; 3],
    min_rtt_us: u32,
}

/// One look at a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    /// Payload received in order.
    pub(crate) received: u64,
    /// Payload acknowledged, and the SYN where this side opened the connection.
    pub(crate) acked: u64,
    /// Segments sent again.
    pub(crate) retransmits: u64,
    /// Smoothed round-trip time.
    pub(crate) rtt_us: u64,
    /// Least round-trip time.
    pub(crate) min_rtt_us: u64,
}

const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

/// Looks at a socket.
///
/// A FIN counts as a byte in the kernel's numbers; the states that tell of one are taken into
/// account, so that up to one byte too much remains where both sides have closed.
pub(crate) fn read(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut raw = MaybeUninit::<Raw>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<Raw>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes to `raw`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            raw.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zero or what the kernel wrote; every value of every field is valid.
    let raw = unsafe { raw.assume_init() };
    let came = matches!(raw.state, CLOSE_WAIT | LAST_ACK | CLOSING);
    let went = raw.state == FIN_WAIT2;
    Ok(TcpInfo {
        received: raw.bytes_received.saturating_sub(u64::from(came)),
        acked: raw.bytes_acked.saturating_sub(u64::from(went)),
        retransmits: raw.total_retrans.into(),
        rtt_us: raw.rtt_us.into(),
        // The kernel has no sample yet.
        min_rtt_us: if raw.min_rtt_us == u32::MAX {
            0
        } else {
            raw.min_rtt_us.into()
        },
    })
}
