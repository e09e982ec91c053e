//! Many pulls with a fault in each: none may fail, and nothing may be left behind.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use testbed::{Agent, Release, wait_until};

use super::{FAULTS, Lab, NO_FAULT, fails_at_first};

/// Pulls until the agents have what they keep.
const WARM_UP: u32 = 3;
/// Idle connections are let go within this.
const SETTLED: Duration = Duration::from_mins(1);
/// Descriptors that there may be more than before.
const SPARE: usize = 0;
/// Memory that the allocator may keep, in bytes, besides half of what there was.
const KEPT: u64 = 12 << 20;

/// What a soak found.
#[derive(Debug, Clone, Serialize)]
pub struct Soak {
    /// Pulls with a fault.
    pub pulls: u32,
    /// Faults that happened; now and then another holder is asked first.
    pub faults: u32,
    /// Pulls that only the retry brought to an end, after wrong bytes.
    pub retried: u32,
    /// The median of the pulls with a fault, in seconds.
    pub median_seconds: f64,
    /// The longest one.
    pub longest_seconds: f64,
    /// One without a fault.
    pub undisturbed_seconds: f64,
    /// What the puller's agent and the holder's had before, and after.
    pub before: Vec<Usage>,
    /// The same afterwards.
    pub after: Vec<Usage>,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Usage {
    /// Open descriptors.
    pub descriptors: usize,
    /// Resident memory in bytes.
    pub resident: u64,
}

/// Pulls `pulls` times, each time from a peer with another fault.
///
/// # Errors
/// When a pull fails, or descriptors or memory do not return.
pub fn run(release: Release, pulls: u32) -> Result<Soak> {
    let mut lab = Lab::new(release, 12 << 10)?;
    let mut undisturbed = Duration::MAX;
    for _ in 0..WARM_UP {
        undisturbed = undisturbed.min(one(&mut lab, NO_FAULT)?.0);
    }
    let before = usages(&lab)?;
    let mut times = Vec::new();
    let (mut faults, mut retried) = (0, 0);
    // A fixed order that is unlike any pattern of time: every run is the same.
    let mut state: u32 = 1;
    for number in 0..pulls {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let choice = usize::try_from(state >> 16)? % FAULTS.len();
        let fault = FAULTS.get(choice).copied().unwrap_or(NO_FAULT);
        let (took, misbehaved, again) =
            one(&mut lab, fault).with_context(|| format!("pull {number}, fault {fault}"))?;
        times.push(took);
        faults += u32::from(misbehaved);
        retried += u32::from(again);
    }
    let after = settle(&lab, &before)?;
    times.sort_unstable();
    let seconds = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64);
    Ok(Soak {
        pulls,
        faults,
        retried,
        median_seconds: seconds(times.get(times.len() / 2)),
        longest_seconds: seconds(times.last()),
        undisturbed_seconds: undisturbed.as_secs_f64(),
        before,
        after,
    })
}

fn one(lab: &mut Lab, fault: &str) -> Result<(Duration, bool, bool)> {
    let faulty = lab.start_faulty(fault)?;
    let pulled = lab.pull(fails_at_first(fault))?;
    lab.claim(faulty.holder, &[])?;
    lab.forget()?;
    Ok((pulled.took, faulty.misbehaved(), pulled.retried))
}

/// Waits until idle connections are closed.
fn settle(lab: &Lab, before: &[Usage]) -> Result<Vec<Usage>> {
    let begin = Instant::now();
    wait_until("descriptors and memory to return", SETTLED, || {
        let now = usages(lab)?;
        let back = now.iter().zip(before).all(|(now, before)| {
            now.descriptors <= before.descriptors + SPARE
                && now.resident <= before.resident * 3 / 2 + KEPT
        });
        ensure!(
            back || begin.elapsed() < SETTLED,
            "before {before:?}, now {now:?}"
        );
        Ok(back.then_some(now))
    })
}

fn usages(lab: &Lab) -> Result<Vec<Usage>> {
    lab.agents().map(usage).collect()
}

/// What an agent holds now.
///
/// # Errors
/// When it is gone.
pub fn usage(agent: &Agent) -> Result<Usage> {
    let process = format!("/proc/{}", agent.process().id());
    let status = fs::read_to_string(format!("{process}/status")).context("the agent is gone")?;
    let kibibytes: u64 = field(&status, "VmRSS:").context("no VmRSS")?;
    Ok(Usage {
        descriptors: fs::read_dir(format!("{process}/fd"))?.count(),
        resident: kibibytes << 10,
    })
}

/// The number after a name in `/proc/PID/status`.
pub(super) fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
