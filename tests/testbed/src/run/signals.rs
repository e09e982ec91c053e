//! Cleans up and ends the program when it is interrupted.

use std::io;
use std::sync::Weak;
use std::thread;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::Inner;

/// What a shell reports for a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

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
    if let Some(run) = run.upgrade() {
        eprintln!("\ninterrupted: removing everything that was made ...");
        // The cleaner has said on standard error what it could not remove.
        let _ = run.end(b"clean");
    }
    std::process::exit(INTERRUPTED);
}
