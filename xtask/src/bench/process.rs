//! What running programs use: processor time and memory, as the kernel counts them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

pub(crate) use measure::process::{cpu, resident};

/// Processor time of all that ever ran in a control group, exactly.
pub(crate) fn cgroup_cpu(group: &Path) -> Result<Duration> {
    let file = group.join("cpu.stat");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let usec = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "))
        .and_then(|usec| usec.trim().parse().ok());
    let usec = usec.with_context(|| format!("no usage_usec in {}", file.display()))?;
    Ok(Duration::from_micros(usec))
}
