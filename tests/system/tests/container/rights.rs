//! What the agent's process may do, as the kernel says.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::AgentPod;

/// The bits of `linux/capability.h`.
const BITS: [(&str, u32); 3] = [("NET_BIND_SERVICE", 10), ("NET_ADMIN", 12), ("BPF", 39)];

/// Holds these capabilities and no other, and cannot gain one.
pub(crate) fn has_only(pod: &AgentPod<'_>, names: &[&str]) -> Result<()> {
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(capabilities(pod, set)?, bits(names), "{set}");
    }
    assert_eq!(field(pod, "NoNewPrivs")?, "1");
    // 2 is SECCOMP_MODE_FILTER.
    assert_eq!(field(pod, "Seccomp")?, "2");
    Ok(())
}

/// Holds those that eBPF needs, among others.
pub(crate) fn has_ebpf_capabilities(pod: &AgentPod<'_>) -> Result<()> {
    let wanted = bits(&["BPF", "NET_ADMIN"]);
    assert_eq!(capabilities(pod, "CapEff")? & wanted, wanted);
    Ok(())
}

/// The directory is a mount of its own in the agent's container, and can only be read; so can the
/// root.
pub(crate) fn cannot_write(pod: &AgentPod<'_>, directory: &Path) -> Result<()> {
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", pod.process()?))
        .context("reading the container's mounts")?;
    for place in [Path::new("/"), directory] {
        let options = options(&mounts, place)
            .with_context(|| format!("{} is not a mount:\n{mounts}", place.display()))?;
        assert!(
            options.split(',').any(|option| option == "ro"),
            "{} is mounted {options}",
            place.display()
        );
    }
    Ok(())
}

/// The options of the last mount at a place: proc_pid_mountinfo(5).
fn options<'a>(mounts: &'a str, place: &Path) -> Option<&'a str> {
    let fields = mounts
        .lines()
        .map(|line| line.split(' ').skip(4).collect::<Vec<_>>());
    let mut options = fields.filter_map(|fields| match fields.as_slice() {
        [point, options, ..] if Path::new(point) == place => Some(*options),
        _ => None,
    });
    options.next_back()
}

fn bits(names: &[&str]) -> u64 {
    let named = BITS.iter().filter(|(name, _)| names.contains(name));
    named.map(|(_, bit)| 1 << bit).sum()
}

fn capabilities(pod: &AgentPod<'_>, set: &str) -> Result<u64> {
    u64::from_str_radix(&field(pod, set)?, 16).context("a capability set")
}

fn field(pod: &AgentPod<'_>, name: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", pod.process()?))
        .context("reading the agent's process status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line
        .with_context(|| format!("no {name} in:\n{status}"))?
        .trim()
        .to_owned())
}
