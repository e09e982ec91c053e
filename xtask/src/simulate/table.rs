//! The figures, for the eye.

use std::io::{self, Write as _};

use simulate::{Plan, Run};

/// Prints to standard output, the same for the same plan.
pub(super) fn print(plan: &Plan, runs: &[Run]) {
    let mut out = io::stdout().lock();
    // Ignored: standard output is closed.
    let _ = write!(out, "{}", text(plan, runs));
}

fn text(plan: &Plan, runs: &[Run]) -> String {
    let Plan {
        nodes,
        racks,
        size,
        layers,
        nic,
        uplink,
        registry,
        containerd,
        seed,
        ..
    } = plan;
    let lines: Vec<_> = runs.iter().map(line).collect();
    format!(
        "{nodes} nodes in {racks} racks, {size} in {layers} layers; NIC {nic}, uplink {uplink}, \
         registry {registry}, containerd {containerd}; seed {seed}\n\n\
         {:<12} {:>9} {:>9} {:>8} {:>9} {:>8} {:>9} {:>9} {:>9} {:>5} {:>9} {:>9} {:>8}\n{}\n\
         registry: copies that left it. into rack, out: copies that came into a rack and left one, \
         the most of any.\nof solo: one node's time alone over the median. MiB: what the rules kept \
         at most.\n",
        "policy",
        "registry",
        "into rack",
        "out",
        "p50",
        "of solo",
        "p99",
        "p99/p50",
        "max",
        "hops",
        "joins",
        "in 1 s",
        "MiB",
        lines.concat(),
    )
}

fn line(run: &Run) -> String {
    let breaches = if run.unfinished > 0 || run.violations > 0 {
        format!(
            "{:<12} {} did not finish, {} were sent against the order\n",
            "", run.unfinished, run.violations
        )
    } else {
        String::new()
    };
    format!(
        "{:<12} {:>9.3} {:>9.3} {:>8.2} {:>7.2} s {:>6.1} % {:>7.2} s {:>9.3} {:>7.2} s {:>5} \
         {:>9} {:>9} {:>8.2}\n{breaches}",
        run.policy,
        run.registry_copies,
        run.copies_into_rack,
        run.copies_out_of_rack,
        run.p50_seconds,
        run.p50_of_solo * 100.0,
        run.p99_seconds,
        run.p99_over_p50,
        run.max_seconds,
        run.depth,
        run.joins,
        run.most_joins_a_second,
        mebibytes(run.bytes_of_memory),
    )
}

fn mebibytes(bytes: usize) -> f64 {
    u32::try_from(bytes / 1024).map_or(f64::INFINITY, |kib| f64::from(kib) / 1024.0)
}
