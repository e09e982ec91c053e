//! Cleans up and ends the program when it is interrupted.

use std::io;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::Inner;

/// What a shell reports for a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

/// Set before anything is removed, so that failures caused by the removal can be told from real
/// ones.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Waits for the end of a program that was interrupted, and returns at once in one that was not.
///
/// Call this before reporting an error: it may only be the result of an interrupt, which removes
/// what the rest of the program works with.
pub fn stop_if_interrupted() {
    while IS_ENDING.load(Ordering::Acquire) {
        thread::park();
    }
}

pub(super) fn watch(run: Weak<Inner>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("starting the signal watcher")?;
    let signals = {
        let _inside = runtime.enter();
        [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ]
        .map(signal)
    };
    let [interrupt, terminate, hangup] = signals;
    let (mut interrupt, mut terminate, mut hangup) =
        installed(interrupt, terminate, hangup).context("installing the handlers of interrupts")?;
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        clean_and_exit(&run);
    });
    Ok(())
}

fn installed<T>(a: io::Result<T>, b: io::Result<T>, c: io::Result<T>) -> io::Result<(T, T, T)> {
    Ok((a?, b?, c?))
}

#[expect(
    clippy::exit,
    reason = "the rest of the program is blocked in the middle of its work"
)]
#[expect(
    clippy::print_stderr,
    reason = "the person who interrupted waits for this"
)]
fn clean_and_exit(run: &Weak<Inner>) {
    IS_ENDING.store(true, Ordering::Release);
    if let Some(run) = run.upgrade() {
        eprintln!("\ninterrupted: removing everything that was made ...");
        // The cleaner has said on standard error what it could not remove.
        let _ = run.end(b"clean");
    }
    std::process::exit(INTERRUPTED);
}
