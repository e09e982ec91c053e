//! A panic aborts the process in every build profile.
//!
//! A task that panicked may leave shared state inconsistent. The process aborts instead; its
//! supervisor (kubelet or systemd) starts another one, which begins from what is on the disk.

use std::panic::PanicHookInfo;

use tracing::error;

/// From now on every panic is logged and aborts the process; call it once, in `main`.
pub fn on_panic() {
    std::panic::set_hook(Box::new(abort));
}

fn abort(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = panic.location().map(ToString::to_string);
    error!(
        thread = thread.name().unwrap_or("unnamed"),
        place, message, "a panic ends the process; this is a bug"
    );
    std::process::abort();
}
