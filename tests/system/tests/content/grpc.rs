//! A content store whose directory cannot be read: it is followed and served over gRPC.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use pi_agent::content::Access;
use system_tests::{APP, PULL, bed, node, on_each_release, on_release, pull, push_app};
use testbed::{
    Agent, Bed, BedSetup, Image, ImageSpec, Layer, Packing, Plan, Rate, Registry, Release, Run,
    wait_until,
};

use super::{GONE, SHARED, agent, ctr, holders, status};

on_each_release!(serves_and_withdraws, shares_what_a_pull_has_committed);
// containerd 2 tells of each commit.
on_release!(unpacked_1_6, Installed, shares_what_a_pull_has_unpacked);
on_release!(unpacked_1_7, V1_7, shares_what_a_pull_has_unpacked);

/// No directory of a content store.
const NOWHERE: &str = "--content-path=/nowhere";

fn serves_and_withdraws(release: Release) -> Result<()> {
    let mut bed = bed(release, &[2])?;
    let image = push_app(&bed)?;
    bed.start_server(&[])?;
    bed.start_agent(0, &[NOWHERE])?;
    bed.start_agent(1, &[])?;
    for node in &mut bed.nodes {
        node.agent.as_mut().context("no agent")?.wait_ready()?;
    }
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    let (first, second) = (node(&bed, 0)?, node(&bed, 1)?);
    pull(first, APP)?;
    bed.wait_until_shared(&image)?;
    assert_eq!(status(first)?.content.access, Access::Grpc);

    pull(second, APP)?;
    let received = agent(second)?.received()?;
    let bytes = received.get(&first.host.address).copied();
    assert!(bytes >= Some(image.bytes() * 9 / 10), "{received:?}");

    let layers = &image.variants.first().context("no platform")?.layers;
    let layer = &layers[0].digest;
    wait_until("both nodes to share it", SHARED, || {
        Ok((holders(&bed, layer)? == 2).then_some(()))
    })?;
    ctr(first, "k8s.io", &["content", "rm", layer])?;
    wait_until("the layer to be withdrawn", GONE, || {
        Ok((holders(&bed, layer)? == 1).then_some(()))
    })
}

/// An image of these layers. Images share those that they both have.
fn image(kibibytes: &[u32]) -> Result<Image> {
    let layer = |kibibytes: &u32| Layer {
        kibibytes: *kibibytes,
        packing: Packing::Tar,
    };
    ImageSpec {
        layers: kibibytes.iter().map(layer).collect(),
        ..ImageSpec::small("slow")
    }
    .build()
}

/// Looks when the first layer is shared, while the pull is still in progress. `first` is whom
/// containerd asks first.
fn while_pulling(release: Release, first: &[String]) -> Result<()> {
    let plan = Plan {
        registry: Some(Rate::megabits(16)),
        ..Plan::unshaped(&[1])
    };
    let mut bed = Bed::start(Run::start()?, &BedSetup { plan, release })?;
    // One layer comes from a mirror of its own and takes four seconds, the other ten. What the
    // agent lists at its start is over by then, and the next time is not yet.
    let (whole, part) = (image(&[5 << 10, 20 << 10])?, image(&[5 << 10])?);
    bed.registry.push(&whole, APP)?;
    let host = bed
        .network()
        .add_core_host("mirror", Some(Rate::megabits(10)))?;
    let mirror = Registry::start(bed.run(), &host)?;
    mirror.push(&part, "lib/app:part")?;
    bed.start_server(&[])?;
    bed.start_agents(&[NOWHERE])?;
    bed.set_hosts(&[first, &[mirror.url(), bed.registry.url()]].concat())?;
    let node = node(&bed, 0)?;
    let [early, late] = whole.variants[0].layers.as_slice() else {
        anyhow::bail!("the image has two layers");
    };
    let blobs = node.containerd.content().join("blobs");
    let is_there = |digest: &str| blobs.join(digest.replace(':', "/")).exists();
    thread::scope(|scope| {
        let pull = scope.spawn(|| node.containerd.cri().pull(&Bed::image_name(APP), PULL));
        wait_until("the first layer", Duration::from_secs(20), || {
            Ok(is_there(&early.digest).then_some(()))
        })?;
        let committed = Instant::now();
        wait_until("the first layer to be shared", SHARED, || {
            Ok((holders(&bed, &early.digest)? == 1).then_some(()))
        })?;
        let took = committed.elapsed();
        ensure!(!is_there(&late.digest), "the pull is over after {took:?}");
        pull.join().map_err(|_panic| anyhow!("the pull panicked"))?
    })?;
    wait_until("the other layer to be shared", SHARED, || {
        Ok((holders(&bed, &late.digest)? == 1).then_some(()))
    })
}

/// containerd asks the agent for each blob, and has each from the registry.
fn shares_what_a_pull_has_committed(release: Release) -> Result<()> {
    while_pulling(release, &[Agent::mirror_url()])
}

/// containerd does not ask the agent at all.
fn shares_what_a_pull_has_unpacked(release: Release) -> Result<()> {
    while_pulling(release, &[])
}
