//! Whatever a peer does in the middle of a layer, the pull succeeds: from a second holder where
//! there is one, and from the registry where there is none.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use system_tests::{
    faults::{FAULTS, Lab, NO_FAULT, Others, memory, soak},
    is_little, node, on_each_release,
};
use testbed::Release;

on_each_release!(
    every_fault_with_a_second_holder,
    every_fault_without_one,
    a_stale_row_of_the_puller_itself,
);

/// The agent gives a bad peer up after two seconds; containerd alone would wait for half a minute
/// and more. Between the two there is room for a busy machine.
const COST: Duration = Duration::from_secs(8);

/// A layer that is not verified in memory before it is passed on.
const LAYER: u32 = 16 << 10;

fn every_fault(release: Release, others: Others) -> Result<()> {
    let mut lab = Lab::new(release, LAYER)?;
    if others == Others::Nobody {
        lab.stop_holder()?;
    }
    let undisturbed = lab.check(NO_FAULT, others).context("without a fault")?.took;
    let mut failed = Vec::new();
    for fault in FAULTS {
        lab.restart_puller()?;
        let checked = lab.check(fault, others).and_then(|pulled| {
            ensure!(
                pulled.took < undisturbed + COST,
                "took {:?} instead of {undisturbed:?}",
                pulled.took
            );
            Ok(())
        });
        if let Err(error) = checked {
            failed.push(format!("{fault}: {error:#}"));
            // What is left of it must not fail the next one.
            let _ = lab.forget();
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

fn every_fault_with_a_second_holder(release: Release) -> Result<()> {
    every_fault(release, Others::Second)
}

fn every_fault_without_one(release: Release) -> Result<()> {
    every_fault(release, Others::Nobody)
}

/// The server says that the puller has what it pulls, as it does after a content store was lost.
fn a_stale_row_of_the_puller_itself(release: Release) -> Result<()> {
    let lab = Lab::new(release, LAYER)?;
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

/// containerd 2 can fetch a layer by several open-ended ranges at once, and resets each where the
/// next one begins.
const PARALLEL: &str = r#"
[plugins."io.containerd.transfer.v1.local"]
max_concurrent_downloads = 3
concurrent_layer_fetch_buffer = 8388608
"#;

#[test]
fn ranges_that_containerd_breaks_off_cost_what_it_asked_for() -> Result<()> {
    let lab = Lab::with_settings(Release::V2, 64 << 10, PARALLEL)?;
    let pulled = lab.pull(false)?;
    ensure!(is_little(pulled.from_registry, &lab.image), "{pulled:?}");
    let agent = lab.puller()?.agent.as_ref().context("no agent")?;
    let received: u64 = agent.received()?.values().sum();
    let whole = lab.image.bytes();
    ensure!(
        received < whole + whole / 50,
        "{received} bytes came for {whole}"
    );
    // Otherwise nothing of this was tried.
    let metrics = agent.admin("/metrics")?.text();
    let requests = metrics
        .lines()
        .filter(|line| line.starts_with("piccolo_agent_mirror_requests_total{kind=\"blob\""))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u32>().ok())
        .sum::<u32>();
    ensure!(requests > 6, "only {requests} requests for blobs");
    Ok(())
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
