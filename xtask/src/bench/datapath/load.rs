//! One load on one target, and what it cost.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::stand::{Layers, Stand, Target};
use crate::shell;

/// The requests of a load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) layers: Layers,
    /// Connections at once.
    pub(super) streams: u32,
    /// How often each layer is fetched.
    pub(super) repeat: u32,
}

/// Its result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) megabytes_per_second: f64,
    /// Processor seconds per GiB, of all programs between file and reader.
    pub(super) cpu: f64,
    /// Of the last of them.
    pub(super) hop: f64,
    pub(super) failed: f64,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    seconds: f64,
    bytes: u64,
    failed: u32,
}

impl Load {
    pub(super) fn put(self, stand: &Stand, target: Target) -> Result<Measured> {
        let paths = stand.paths(self.layers);
        let asked = f64::from(u32::try_from(paths.len())? * self.repeat);
        let (from, hop) = (stand.cpu(target.source())?, stand.cpu(target)?);
        let mut reader = stand.reader();
        reader
            .arg("fetch")
            .arg(format!("--from={}", stand.address(target)))
            .arg(format!("--streams={}", self.streams))
            .arg(format!("--repeat={}", self.repeat))
            .args(paths);
        if matches!(target, Target::Mirror | Target::MirrorTls) {
            reader.arg("--commit").arg(stand.commits_to()?);
        }
        let outcome = shell::output(&mut reader)?;
        let outcome: Outcome = serde_json::from_str(&outcome).context("what the reader says")?;
        let hop = stand.cpu(target)?.saturating_sub(hop);
        let from = stand.cpu(target.source())?.saturating_sub(from);
        ensure!(
            outcome.bytes > 0,
            "nothing came; it logged last: {}",
            stand.log_tail(target)
        );
        let megabytes = f64::from(u32::try_from(outcome.bytes / 1_000_000)?);
        let gibibytes = megabytes * 1e6 / f64::from(1 << 30);
        let all = if target.source() == target {
            hop
        } else {
            hop + from
        };
        Ok(Measured {
            megabytes_per_second: megabytes / outcome.seconds,
            cpu: all.as_secs_f64() / gibibytes,
            hop: hop.as_secs_f64() / gibibytes,
            failed: f64::from(outcome.failed) * 100.0 / asked,
        })
    }
}
