//! What the demo says while it runs.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Without a terminal, where a line cannot be written over, progress is said this often.
const PAUSE: Duration = Duration::from_secs(2);

/// Lines with the time since the start, and one line of progress below them.
#[derive(Debug)]
pub(super) struct Screen {
    start: Instant,
    is_terminal: bool,
    last_progress: Option<Instant>,
}

impl Screen {
    pub(super) fn start() -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self {
            start: Instant::now(),
            is_terminal,
            last_progress: None,
        }
    }

    /// Says a line that stays.
    pub(super) fn say(&mut self, line: &str) {
        let clear = if self.is_terminal { "\r\x1b[K" } else { "" };
        let seconds = self.start.elapsed().as_secs_f32();
        self.last_progress = None;
        // Ignored: standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{clear}[{seconds:5.1} s] {line}");
    }

    /// Says how far things are.
    pub(super) fn progress(&mut self, line: &str) {
        let seconds = self.start.elapsed().as_secs_f32();
        let mut out = io::stderr().lock();
        if self.is_terminal {
            let _ = write!(out, "\r\x1b[K[{seconds:5.1} s]   {line}");
            let _ = out.flush();
        } else if self
            .last_progress
            .is_none_or(|last| last.elapsed() >= PAUSE)
        {
            self.last_progress = Some(Instant::now());
            let _ = writeln!(out, "[{seconds:5.1} s]   {line}");
        }
    }
}

/// A number of bytes for the eye.
pub(super) fn megabytes(bytes: u64) -> String {
    let tenths = (bytes + 50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}
