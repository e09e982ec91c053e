//! What the program in the kernel logs, which is nothing unless it is asked for.
//!
//! The level is a constant of the program: at zero the verifier removes the log statements, so that
//! they cost nothing. They are left in where the filter lets `pi_agent::ebpf=trace` through when
//! the program is loaded, and then cost about half a microsecond for each callback.
#![expect(
    unsafe_code,
    reason = "waiting for a descriptor asks for a promise that it stays open"
)]

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};
use tracing::{debug, trace};

/// The name of the constant.
pub(crate) const LEVEL: &str = aya_log::LEVEL;

const OFF: u8 = 0;
/// `aya_log::Level::Debug`.
const DEBUG: u8 = 4;

/// Reads the program's log.
pub(crate) struct Reader(EbpfLogger<Forward>);

/// Hands records on to the agent's own log.
struct Forward;

/// The level to load the program with.
pub(crate) fn level() -> u8 {
    if wanted() { DEBUG } else { OFF }
}

fn wanted() -> bool {
    tracing::enabled!(target: "pi_agent::ebpf", tracing::Level::TRACE)
}

impl Reader {
    /// Opens the log, if it is wanted.
    pub(crate) fn open(ebpf: &mut Ebpf) -> Option<Self> {
        if !wanted() {
            return None;
        }
        match EbpfLogger::init_with_logger(ebpf, Forward) {
            Ok(logger) => Some(Self(logger)),
            Err(error) => {
                debug!(%error, "the program's log cannot be read");
                None
            }
        }
    }

    /// Hands on whatever comes, as it comes: the ring has room for a thousand records or so, and
    /// what finds none is lost.
    ///
    /// # Errors
    ///
    /// When the runtime cannot wait for the ring.
    pub(crate) async fn follow(self) -> io::Result<()> {
        // SAFETY: the ring, and with it its descriptor, is owned by what waits for it.
        let mut ring = unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }?;
        loop {
            let mut ready = ring.readable_mut().await?;
            ready.get_inner_mut().0.flush();
            ready.clear_ready();
            // Under load there is always more.
            tokio::task::yield_now().await;
        }
    }
}

impl AsRawFd for Reader {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl ::log::Log for Forward {
    fn enabled(&self, _: &::log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &::log::Record<'_>) {
        trace!(target: "pi_agent::ebpf", "in the kernel: {}", record.args());
    }

    fn flush(&self) {}
}
