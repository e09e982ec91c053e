//! What this program prints.

use std::{
    fs,
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use pi_agent::ebpf::{Accounting, PeerView};
use serde_json::{Value, json};

/// How long the counters may take to become right: delayed acknowledgements, closing sockets.
const SETTLES: Duration = Duration::from_secs(5);

/// `BPF_PROG_TYPE_SOCK_OPS`.
const SOCK_OPS: u64 = 13;

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

/// How often the program ran, and for how many nanoseconds, as the kernel counts where
/// that is switched on: proc_pid_fdinfo(5).
pub(crate) fn program() -> Result<Value> {
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // The directory's own descriptor is in the list, and gone.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<u64>().ok()
        };
        if field("prog_type:") == Some(SOCK_OPS) {
            return Ok(json!({"runs": field("run_cnt:"), "nanoseconds": field("run_time_ns:")}));
        }
    }
    Ok(Value::Null)
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
        accounting.pass(Instant::now);
        if settled(&accounting.peers()) || start.elapsed() > SETTLES {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
