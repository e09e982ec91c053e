//! What this program prints.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use pi_agent::ebpf::{Accounting, PeerView};
use serde_json::{Value, json};

/// How long the counters may take to become right: delayed acknowledgements, closing sockets.
const SETTLES: Duration = Duration::from_secs(5);

/// Prints what was counted, with what is known to be true.
pub(crate) fn print(accounting: &Accounting, truth: &Value) -> Result<()> {
    let outcome = json!({
        "mode": accounting.mode(),
        "peers": accounting.peers(),
        "failures": accounting.failures(),
        "truth": truth,
    });
    say(&outcome)
}

/// Prints one line.
pub(crate) fn say(line: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").context("writing the result")?;
    out.flush().context("writing the result")
}

/// Looks at the counters until `settled`, or until they have had time enough.
pub(crate) fn settle(accounting: &Accounting, settled: impl Fn(&[PeerView]) -> bool) {
    let start = Instant::now();
    loop {
        accounting.pass(Instant::now());
        if settled(&accounting.peers()) || start.elapsed() > SETTLES {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
