//! Whatever a peer does in the middle of a layer, the pull succeeds: from a second holder where
//! there is one, and from the registry where there is none.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use system_tests::{
    faults::{FAULTS, Lab, NO_FAULT, Others, Pulled, busy, memory, resumed, soak},
    is_little, node, on_each_release,
};
use testbed::Release;

on_each_release!(
    every_fault_with_a_second_holder,
    every_fault_without_one,
    a_stale_row_of_the_puller_itself,
);

/// What a fault may cost. The agent gives a bad peer up after two seconds; containerd alone would
/// wait for half a minute and more.
const COST: Duration = Duration::from_secs(3);
/// How long a source that has no room is asked again.
const BUSY: Duration = Duration::from_secs(10);

/// A layer of 100 MB, in KiB.
const LAYER: u32 = 100_000;

/// A layer that is not verified in memory before it is passed on, in KiB.
const SMALL: u32 = 16 << 10;

/// Pulls without a fault; the one in the middle is what the others are compared with.
const UNDISTURBED: usize = 3;

/// A line of what is shown when a fault costs too much.
fn line(fault: &str, found: &Result<Pulled>, undisturbed: Duration) -> String {
    match found {
        Ok(pulled) => format!(
            "{fault:18} {:5.2} s, {:+5.2} s, {:9} bytes of the registry{}",
            pulled.took.as_secs_f64(),
            pulled.took.as_secs_f64() - undisturbed.as_secs_f64(),
            pulled.from_registry,
            if pulled.retried { ", on the retry" } else { "" }
        ),
        Err(error) => format!("{fault:18} {error:#}"),
    }
}

fn every_fault(release: Release, others: Others) -> Result<()> {
    let mut lab = Lab::new(release, LAYER)?;
    if others == Others::Nobody {
        lab.stop_holder()?;
    }
    let mut undisturbed = Vec::new();
    for _ in 0..UNDISTURBED {
        undisturbed.push(lab.check(NO_FAULT, others).context("without a fault")?.took);
    }
    undisturbed.sort_unstable();
    let undisturbed = undisturbed
        .get(UNDISTURBED / 2)
        .copied()
        .unwrap_or_default();
    let mut table = vec![format!("{undisturbed:.2?} without a fault")];
    let mut good = true;
    for fault in FAULTS {
        lab.restart_puller()?;
        let found = lab.check(fault, others);
        good &= found
            .as_ref()
            .is_ok_and(|pulled| pulled.took < undisturbed + cost(fault, others));
        table.push(line(fault, &found, undisturbed));
        if found.is_err() {
            // What is left of it must not fail the next one.
            let _ = lab.forget();
        }
    }
    ensure!(good, "{}", table.join("\n"));
    Ok(())
}

/// What a fault may cost. A source without room, which is the only one, is asked again for ten seconds before the
/// budget for the registry decides.
fn cost(fault: &str, others: Others) -> Duration {
    match (fault, others) {
        ("too-many-requests", Others::Nobody) => BUSY + COST,
        _ => COST,
    }
}

fn every_fault_with_a_second_holder(release: Release) -> Result<()> {
    every_fault(release, Others::Second)
}

fn every_fault_without_one(release: Release) -> Result<()> {
    every_fault(release, Others::Nobody)
}

/// The server says that the puller has what it pulls, as it does after a content store was lost.
fn a_stale_row_of_the_puller_itself(release: Release) -> Result<()> {
    let lab = Lab::new(release, SMALL)?;
    let puller = node(&lab.bed, 0)?.host.address;
    let digests: Vec<_> = lab.image.native_blobs().map(|b| b.digest.clone()).collect();
    lab.claim((puller, 7787).into(), &digests)?;
    let pulled = lab.pull(false)?;
    ensure!(
        is_little(pulled.from_registry, &lab.image),
        "the registry sent {} bytes",
        pulled.from_registry
    );
    Ok(())
}

#[test]
fn a_busy_peer_cannot_have_this_node_ask_itself() -> Result<()> {
    busy::check(&mut Lab::new(Release::Installed, SMALL)?)
}

/// containerd 2 can fetch a layer by several open-ended ranges at once, all of them from the host that gave
/// the first one, and fails the pull if that one does not give another.
const PARALLEL: &str = r#"
[plugins."io.containerd.transfer.v1.local"]
max_concurrent_downloads = 3
concurrent_layer_fetch_buffer = 8388608
"#;

/// The ways in which a holder goes in the middle of a layer.
const GOES: [&str; 5] = ["kill", "stop", "trickle", "fin", "rst"];

#[test]
fn a_last_holder_that_goes_fails_no_pull_by_ranges() -> Result<()> {
    let mut lab = Lab::with_settings(Release::V2, 32 << 10, PARALLEL)?;
    lab.stop_holder()?;
    for swarm in ["--swarm=off", "--swarm=on"] {
        for fault in GOES {
            lab.restart_puller_with(&[swarm])?;
            let pulled = lab.survive(fault);
            pulled.with_context(|| format!("{swarm}, {fault}"))?;
        }
    }
    Ok(())
}

#[test]
fn nor_one_that_goes_after_containerd_was_killed() -> Result<()> {
    let releases = [
        (Release::V2, PARALLEL),
        (Release::V1_7, ""),
        (Release::Installed, ""),
    ];
    for (release, settings) in releases {
        for (swarm, fault) in [("--swarm=off", "fin"), ("--swarm=on", "stop")] {
            // A pull that was cut off keeps its content for a day.
            let mut lab = Lab::with_settings(release, 32 << 10, settings)?;
            lab.stop_holder()?;
            resumed::pull(&mut lab, fault, &[swarm])
                .with_context(|| format!("{release:?}, {swarm}, {fault}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_layer_is_one_stream_where_containerd_asks_for_ranges() -> Result<()> {
    for swarm in ["--swarm=off", "--swarm=on"] {
        let requests = requests_for_ranges(&[swarm])?;
        ensure!(requests <= 3, "{requests} requests for blobs with {swarm}");
    }
    Ok(())
}

/// How many requests containerd makes that fetches by ranges; no more bytes come than it asked for.
fn requests_for_ranges(agent: &[&str]) -> Result<u32> {
    let mut lab = Lab::with_settings(Release::V2, 64 << 10, PARALLEL)?;
    lab.bed.start_agent(0, agent)?;
    let pulled = lab.pull(false)?;
    ensure!(is_little(pulled.from_registry, &lab.image), "{pulled:?}");
    let agent = lab.puller()?.agent.as_ref().context("no agent")?;
    let received: u64 = agent.received()?.values().sum();
    let whole = lab.image.bytes();
    ensure!(
        received < whole + whole / 50,
        "{received} bytes came for {whole}"
    );
    let metrics = agent.admin("/metrics")?.text();
    let requests = metrics
        .lines()
        .filter(|line| line.starts_with("piccolo_agent_mirror_requests_total{kind=\"blob\""))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u32>().ok());
    Ok(requests.sum())
}

#[test]
fn a_soak_leaves_nothing_behind() -> Result<()> {
    let soak = soak::run(Release::V2, 30)?;
    ensure!(soak.faults > 15, "hardly any fault happened: {soak:?}");
    Ok(())
}

#[test]
fn many_large_fetches_need_little_memory() -> Result<()> {
    let peak = memory::peak(Release::V2, 64)?;
    ensure!(peak < 64 << 20, "{peak} bytes were resident");
    Ok(())
}
