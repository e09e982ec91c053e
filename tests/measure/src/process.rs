//! What a running program uses: processor time and memory, as the kernel counts them.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Resident memory, in bytes.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub struct Resident {
    /// Of this moment.
    pub now: u64,
    /// The most so far.
    pub peak: u64,
    /// Of what there is now, its own: not what of a file is mapped, which others share.
    pub own: u64,
}

/// Processor time of a process with all its threads, to a hundredth of a second.
///
/// # Errors
/// When there is no such process.
pub fn cpu(pid: u32) -> Result<Duration> {
    let file = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
    let ticks = ticks(&text).with_context(|| format!("{file} is not as expected: {text}"))?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis(ticks * 1000 / per_second))
}

/// Time in user space and in the kernel. The second field is a name, in which anything may stand.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

/// Resident memory of a process; nothing of one that is gone.
pub fn resident(pid: u32) -> Resident {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let bytes = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok());
        number.unwrap_or(0_u64) << 10
    };
    Resident {
        now: bytes("VmRSS"),
        peak: bytes("VmHWM"),
        own: bytes("RssAnon"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_matter() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(ticks(stat), Some(300));
    }

    #[test]
    fn time_and_memory_of_this_process() {
        let start = cpu(std::process::id()).expect("readable");
        let mut work = 0_u64;
        while cpu(std::process::id()).expect("readable") < start + Duration::from_millis(30) {
            work = work.wrapping_mul(31).wrapping_add(1);
        }
        let memory = resident(std::process::id());
        assert!(
            0 < memory.own && memory.own < memory.now && memory.now <= memory.peak,
            "{memory:?} {work}"
        );
    }
}
