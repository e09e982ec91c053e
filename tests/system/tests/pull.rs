//! The main job: a node's containerd gets an image out of its neighbour's content store.

use anyhow::{Context, Result};
use system_tests::{APP, bed, bed_with_piccolo, is_little, node, on_each_release, pull, push_app};
use testbed::{Agent, Bed, BedSetup, Image, ImageSpec, Layer, Packing, Plan, Rate, Release, Run};

on_each_release!(
    through_a_peer,
    a_multi_arch_index_through_a_peer,
    without_a_server,
    without_a_peer,
    when_containerd_came_after_the_agent,
);

/// Pulls on the first node, waits until that is known, and pulls on the second; almost all of it
/// has to come from the first.
fn pull_one_after_the_other(bed: &Bed, image: &Image) -> Result<()> {
    let (first, second) = (node(bed, 0)?, node(bed, 1)?);
    pull(first, APP)?;
    bed.wait_until_shared(image)?;
    pull(second, APP)?;
    bed.registry.settle()?;
    let to = |node: &testbed::Node| bed.registry.bytes_to(node.host.address);
    assert!(
        to(first) >= image.bytes(),
        "the first node got {} bytes",
        to(first)
    );
    let log = || format!("{:#?}", bed.registry.access_log());
    assert!(
        is_little(to(second), image),
        "the registry sent {}: {}",
        to(second),
        log()
    );

    let agent = second
        .agent
        .as_ref()
        .context("the second node has no agent")?;
    let received = agent.received()?;
    let from_first = received
        .get(&first.host.address)
        .copied()
        .unwrap_or_default();
    assert!(
        from_first >= image.bytes() * 9 / 10,
        "received from peers: {received:?}"
    );
    Ok(())
}

/// A peer behind 2 Mbit/s, which is the only one.
#[test]
fn a_slow_peer_is_kept_unless_the_floor_is_above_it() -> Result<()> {
    for (floor, kept) in [(None, true), (Some("--rate-floor=1000000"), false)] {
        let plan = Plan {
            node: Some(Rate::megabits(2)),
            ..Plan::unshaped(&[2])
        };
        let release = Release::Installed;
        let mut bed = Bed::start(Run::start()?, &BedSetup { plan, release })?;
        let layer = Layer {
            kibibytes: 1536,
            packing: Packing::Tar,
        };
        let image = ImageSpec {
            layers: vec![layer],
            ..ImageSpec::small("narrow")
        }
        .build()?;
        bed.registry.push(&image, APP)?;
        bed.start_server(&[])?;
        bed.start_agents(floor.as_slice())?;
        bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
        let (first, second) = (node(&bed, 0)?, node(&bed, 1)?);
        pull(first, APP)?;
        bed.wait_until_shared(&image)?;
        pull(second, APP)?;
        bed.registry.settle()?;
        let sent = bed.registry.bytes_to(second.host.address);
        assert_eq!(is_little(sent, &image), kept, "{floor:?}: {sent} bytes");
    }
    Ok(())
}

fn through_a_peer(release: Release) -> Result<()> {
    let bed = bed_with_piccolo(release, &[1, 1])?;
    let image = push_app(&bed)?;
    pull_one_after_the_other(&bed, &image)
}

fn a_multi_arch_index_through_a_peer(release: Release) -> Result<()> {
    let bed = bed_with_piccolo(release, &[2])?;
    let architectures = ["amd64", "arm64", "riscv64"].map(str::to_owned).to_vec();
    let image = ImageSpec {
        architectures,
        ..ImageSpec::small("multi")
    }
    .build()?;
    bed.registry.push(&image, APP)?;
    pull_one_after_the_other(&bed, &image)
}

fn without_a_server(release: Release) -> Result<()> {
    let mut bed = bed(release, &[1])?;
    let image = push_app(&bed)?;
    bed.start_agents(&[])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    pull(node(&bed, 0)?, APP)?;
    assert!(bed.registry.bytes() >= image.bytes());
    Ok(())
}

fn without_a_peer(release: Release) -> Result<()> {
    let bed = bed_with_piccolo(release, &[1])?;
    let image = push_app(&bed)?;
    pull(node(&bed, 0)?, APP)?;
    assert!(bed.registry.bytes() >= image.bytes());
    Ok(())
}

fn when_containerd_came_after_the_agent(release: Release) -> Result<()> {
    let mut bed = Bed::prepare(
        Run::start()?,
        &BedSetup {
            plan: Plan::unshaped(&[2]),
            release,
        },
    )?;
    let image = push_app(&bed)?;
    bed.start_server(&[])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    for number in 0..bed.nodes.len() {
        bed.start_agent(number, &[])?;
    }
    for node in &mut bed.nodes {
        node.containerd.start()?;
        node.agent.as_mut().context("no agent")?.wait_ready()?;
    }
    pull_one_after_the_other(&bed, &image)
}
