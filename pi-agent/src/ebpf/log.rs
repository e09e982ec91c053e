//! What the program in the kernel logs, which is nothing unless it is asked for.
//!
//! The level is a constant of the program: at zero the verifier removes the log statements, so that
//! they cost nothing. They are left in where the filter lets `pi_agent::ebpf=trace` through when
//! the program is loaded, and then cost about half a microsecond for each callback.

use aya::Ebpf;
use aya_log::EbpfLogger;
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

    /// Hands on what has come since the last time.
    pub(crate) fn flush(&mut self) {
        self.0.flush();
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
