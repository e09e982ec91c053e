//! Whatever part of Piccolo is gone, a pull works: from the next mirror, or from the registry.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use system_tests::{
    APP, PULL, add_second_mirror, bed_with_piccolo, node, on_each_release, pull, push_app,
};
use testbed::{
    Agent, Bed, BedSetup, Image, ImageSpec, Layer, Packing, Plan, Rate, Registry, Release, Run,
    wait_until,
};

on_each_release!(
    a_stopped_server,
    a_stopped_peer,
    a_stopped_agent,
    a_halted_peer,
    a_peer_killed_in_the_middle_of_a_layer,
);

/// A bed whose first node has the image and has made it known; the second has nothing yet.
fn shared(release: Release) -> Result<(Bed, Image, Registry)> {
    let mut bed = bed_with_piccolo(release, &[1, 1])?;
    let image = push_app(&bed)?;
    let mirror = add_second_mirror(&mut bed, &image)?;
    pull(node(&bed, 0)?, APP)?;
    bed.wait_until_shared(&image)?;
    Ok((bed, image, mirror))
}

fn agent(bed: &mut Bed, number: usize) -> Result<Agent> {
    let node = bed.nodes.get_mut(number).context("no such node")?;
    node.agent.take().context("the node has no agent")
}

/// Pulls on the second node, and wants the image to come from the second mirror.
fn pull_from_the_mirror(bed: &Bed, image: &Image, mirror: &Registry) -> Result<()> {
    let second = node(bed, 1)?;
    pull(second, APP)?;
    mirror.settle()?;
    let bytes = mirror.bytes_to(second.host.address);
    assert!(
        bytes >= image.bytes() * 9 / 10,
        "the mirror sent only {bytes} bytes"
    );
    assert_eq!(
        bed.registry.bytes_to(second.host.address),
        0,
        "the registry was asked"
    );
    Ok(())
}

fn a_stopped_server(release: Release) -> Result<()> {
    let (mut bed, image, mirror) = shared(release)?;
    bed.server.take().context("no server")?.stop()?;
    pull_from_the_mirror(&bed, &image, &mirror)
}

fn a_stopped_peer(release: Release) -> Result<()> {
    let (mut bed, image, mirror) = shared(release)?;
    // Killed, so that it cannot say good-bye: the server still names it.
    agent(&mut bed, 0)?.kill();
    pull_from_the_mirror(&bed, &image, &mirror)
}

fn a_stopped_agent(release: Release) -> Result<()> {
    let (mut bed, image, mirror) = shared(release)?;
    agent(&mut bed, 1)?.stop()?;
    pull_from_the_mirror(&bed, &image, &mirror)
}

fn a_halted_peer(release: Release) -> Result<()> {
    let (bed, image, mirror) = shared(release)?;
    let first = node(&bed, 0)?
        .agent
        .as_ref()
        .context("the node has no agent")?;
    first.process().freeze()?;
    pull_from_the_mirror(&bed, &image, &mirror)
}

fn a_peer_killed_in_the_middle_of_a_layer(release: Release) -> Result<()> {
    let plan = Plan {
        node: Some(Rate::megabits(100)),
        ..Plan::unshaped(&[1, 1])
    };
    let mut bed = Bed::start(Run::start()?, &BedSetup { plan, release })?;
    bed.start_server(&[])?;
    bed.start_agents(&[])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    let image = large_image()?;
    bed.registry.push(&image, APP)?;
    pull(node(&bed, 0)?, APP)?;
    bed.wait_until_shared(&image)?;

    let first = agent(&mut bed, 0)?;
    let second = node(&bed, 1)?;
    thread::scope(|scope| {
        let pull = scope.spawn(|| second.containerd.cri().pull(&Bed::image_name(APP), PULL));
        wait_until(
            "a part of the layer to be there",
            Duration::from_secs(30),
            || Ok((second.containerd.content_bytes() * 4 > image.bytes()).then_some(())),
        )?;
        first.kill();
        pull.join().map_err(|_panic| anyhow!("the pull panicked"))?
    })?;
    bed.registry.settle()?;
    let bytes = bed.registry.bytes_to(second.host.address);
    assert!(
        bytes > 0,
        "the peer was killed after it had sent everything"
    );
    assert!(
        bytes < image.bytes(),
        "what the peer had sent was fetched again: {bytes} bytes"
    );
    Ok(())
}

/// One layer that takes two seconds over the bed's links.
fn large_image() -> Result<Image> {
    let layers = vec![Layer {
        kibibytes: 24 << 10,
        packing: Packing::Tar,
    }];
    ImageSpec {
        layers,
        ..ImageSpec::small("large")
    }
    .build()
}
