//! Waiting for a condition with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const PAUSE: Duration = Duration::from_millis(30);

/// Asks again and again until there is a value.
///
/// # Errors
///
/// When the deadline passes, with the error of the last try if it had one.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let answer = ask();
        if let Ok(Some(value)) = answer {
            return Ok(value);
        }
        if start.elapsed() >= deadline {
            return match answer {
                Err(error) => Err(error).with_context(|| late(what, deadline)),
                Ok(_) => bail!(late(what, deadline)),
            };
        }
        thread::sleep(PAUSE);
    }
}

fn late(what: &str, deadline: Duration) -> String {
    format!("waited {} s for {what}", deadline.as_secs())
}
