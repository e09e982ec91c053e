//! A panic ends the process, whatever it was built for.
//!
//! A task that panicked leaves what it shared in a state that nobody has thought through. The process
//! aborts instead; who supervises it starts another one, which begins from what is on the disk.

use std::panic::PanicHookInfo;

use tracing::error;

/// Has every panic from now on logged, and the process aborted by it; call it once, in `main`.
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
