//! What the processors do, in samples of perf(1).

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::shell::output;

pub(super) const PERF: &str = "perf";

/// A share of the samples in which a processor was not idle, percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    /// In the program itself.
    pub(super) program: f64,
    /// With all that the kernel does for it: finding it, calling it, and what it calls.
    pub(super) all: f64,
}

/// The arguments that sample every processor, with stacks, while the command that follows them runs.
pub(super) fn recording(samples: &Path) -> Vec<String> {
    let samples = samples.display().to_string();
    let all = [
        "record", "-q", "-a", "-g", "-F", "1999", "-o", &samples, "--",
    ];
    all.map(str::to_owned).to_vec()
}

/// How much of what was sampled is the program's.
pub(super) fn share(samples: &Path) -> Result<Share> {
    let mut report = Command::new(PERF);
    report
        .args(["report", "--stdio", "--children", "-g", "none"])
        .args(["--sort", "symbol", "-i"])
        .arg(samples);
    let report = output(&mut report)?;
    parse(&report).with_context(|| format!("what perf reports:\n{report}"))
}

/// Each line gives what a function and all that it calls took, what it took itself, and its name.
fn parse(report: &str) -> Result<Share> {
    let (mut idle, mut program, mut around) = (0.0, 0.0, 0.0);
    for line in report.lines() {
        let mut words = line.split_whitespace();
        let mut percent = || words.next()?.strip_suffix('%')?.parse::<f64>().ok();
        let (Some(inclusive), Some(own)) = (percent(), percent()) else {
            continue;
        };
        let Some(name) = words.nth(1) else {
            continue;
        };
        match name {
            "pv_native_safe_halt"
            | "native_safe_halt"
            | "acpi_safe_halt"
            | "default_idle"
            | "mwait_idle"
            | "mwait_idle_with_hints"
            | "poll_idle"
            | "acpi_idle_do_entry"
            | "intel_idle"
            | "intel_idle_irq" => idle += own,
            "__cgroup_bpf_run_filter_sock_ops" => around += inclusive,
            // It does nothing else than ask the program.
            "bpf_skops_hdr_opt_len" => around += own,
            _ if name.starts_with("bpf_prog_") && name.ends_with("_account") => program += own,
            _ => {}
        }
    }
    ensure!(
        around > 0.0 && idle < 100.0,
        "nothing of the program was sampled"
    );
    let of_busy = 100.0 / (100.0 - idle);
    Ok(Share {
        program: program * of_busy,
        all: around * of_busy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
# Children      Self  Symbol
    50.00%    50.00%  [k] pv_native_safe_halt             -      -
     1.50%     0.25%  [k] __cgroup_bpf_run_filter_sock_ops    -      -
     1.00%     0.50%  [k] bpf_prog_1453160890a0e11c_account   -      -
     1.25%     0.25%  [k] bpf_skops_hdr_opt_len               -      -
     0.88%     0.88%  [k] read_tsc                            -      -
     0.01%     0.01%  [k] obj_cgroup_charge_account           -      -
";

    #[test]
    fn the_share_is_of_what_is_not_idle() {
        let share = parse(REPORT).expect("a share");
        assert_eq!(
            share,
            Share {
                program: 1.0,
                all: 3.5
            }
        );
    }

    #[test]
    fn a_report_without_the_program_is_an_error() {
        assert!(parse("# nothing\n").is_err());
    }
}
