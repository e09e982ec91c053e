//! The kernel's functions that the program may call.
//!
//! A kernel that is locked down for confidentiality refuses programs with a function that reads its
//! memory (`bpf_probe_read_kernel` and the like), and such functions need `CAP_PERFMON` besides.

use anyhow::{Result, ensure};

/// By their numbers in `enum bpf_func_id` (include/uapi/linux/bpf.h).
const ALLOWED: [(u32, &str); 9] = [
    (1, "bpf_map_lookup_elem"),
    (2, "bpf_map_update_elem"),
    (5, "bpf_ktime_get_ns"),
    (59, "bpf_sock_ops_cb_flags_set"),
    (107, "bpf_sk_storage_get"),
    (118, "bpf_jiffies64"),
    // These are the log's, which the verifier removes where it is off.
    (131, "bpf_ringbuf_reserve"),
    (132, "bpf_ringbuf_submit"),
    (133, "bpf_ringbuf_discard"),
];

/// Refuses a disassembled object that calls anything else.
pub(super) fn check(listing: &str) -> Result<()> {
    let called = listing.lines().filter_map(|line| {
        let (_, operand) = line.split_once("\tcall ")?;
        Some((number(operand.trim()), line))
    });
    let allowed = |number: Option<u32>| ALLOWED.iter().any(|(allowed, _)| Some(*allowed) == number);
    let others: Vec<_> = called
        .filter(|(number, _)| !allowed(*number))
        .map(|(_, line)| line)
        .collect();
    ensure!(
        others.is_empty(),
        "the program calls more of the kernel than {}; a kernel that is locked down may refuse it:\n{}",
        ALLOWED.map(|(_, name)| name).join(", "),
        others.join("\n")
    );
    Ok(())
}

fn number(operand: &str) -> Option<u32> {
    match operand.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => operand.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_reads_kernel_memory_is_refused() {
        let line = |operand| format!("      23:\t85 00 00 00 6b 00 00 00\tcall {operand}\n");
        assert!(check(&(line("0x6b") + &line("0x1"))).is_ok());
        // bpf_probe_read_kernel; a function of the kernel's that is no helper.
        for operand in ["0x71", "113", "-0x1"] {
            let error = check(&(line("0x1") + &line(operand))).expect_err(operand);
            assert!(error.to_string().contains(operand), "{error}");
        }
    }
}
