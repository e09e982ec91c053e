//! Manifests that are broken on the disk: the agent says so, goes on, and shares the rest.

use std::fs;

use anyhow::{Context, Result, ensure};
use system_tests::{APP, bed, is_little, node, on_each_release, on_release, pull, push_app};
use testbed::{Agent, Bed, Image, ImageSpec, Layer, Node, Packing, Release, wait_until};

use super::{GONE, SHARED, agent, holders, wait_shared};

on_each_release!(in_a_directory);
on_release!(over_grpc, Installed, without_the_directory);

/// The longest manifest that is read.
const LONGEST: usize = 4 << 20;

/// What becomes of a good manifest, each of an image of its own.
fn broken(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let filled = |length: usize| {
        let mut text = br#"{"layers":[{"digest":"#.to_vec();
        text.resize(length, b' ');
        text
    };
    vec![
        ("words", b"this is no manifest".to_vec()),
        ("nothing", Vec::new()),
        ("truncated", good[..good.len() / 2].to_vec()),
        (
            "nested",
            [br#"{"layers":"#.as_slice(), &b"[".repeat(1 << 20)].concat(),
        ),
        ("long", filled(LONGEST)),
        ("longer", filled(LONGEST + 1)),
    ]
}

/// Pulls images without Piccolo and breaks the manifest of each where containerd keeps it.
fn break_some(bed: &Bed, node: &Node) -> Result<Vec<(String, Image)>> {
    let mut images = Vec::new();
    for (number, what) in broken(b"").iter().map(|(what, _)| *what).enumerate() {
        let layer = Layer {
            kibibytes: 256,
            packing: Packing::Tar,
        };
        let image = ImageSpec {
            layers: vec![layer],
            ..ImageSpec::small(what)
        }
        .build()?;
        let name = format!("lib/{what}:v1");
        bed.registry.push(&image, &name)?;
        pull(node, &name)?;
        let digest = image.root.digest.replace(':', "/");
        let file = node.containerd.content().join("blobs").join(digest);
        let good = fs::read(&file).context("reading a manifest")?;
        let (_, bytes) = broken(&good).swap_remove(number);
        fs::write(&file, bytes).context("breaking a manifest")?;
        images.push((name, image));
    }
    Ok(images)
}

fn check(release: Release, arguments: &[&str]) -> Result<()> {
    let mut bed = bed(release, &[2])?;
    bed.set_hosts(&[bed.registry.url()])?;
    let images = break_some(&bed, node(&bed, 0)?)?;
    let app = push_app(&bed)?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    bed.start_server(&[])?;
    bed.start_agent(0, arguments)?;
    bed.start_agent(1, &[])?;
    for node in &mut bed.nodes {
        node.agent.as_mut().context("no agent")?.wait_ready()?;
    }
    let (first, second) = (node(&bed, 0)?, node(&bed, 1)?);
    let counted = format!("piccolo_agent_broken_manifests_total {}", images.len());
    wait_until("the broken manifests to be counted", GONE, || {
        let metrics = agent(first)?.admin("/metrics")?.text();
        Ok(metrics.contains(&counted).then_some(()))
    })?;
    let log = agent(first)?.process().log();
    for (name, image) in &images {
        let digest = &image.root.digest;
        let told = |line: &&str| line.contains("WARN") && line.contains(digest.as_str());
        ensure!(log.lines().filter(told).count() == 1, "{name}: {log}");
        let (repository, _) = name.split_once(':').context("no tag")?;
        let path = format!("/v2/{repository}/manifests/{digest}?ns=registry.test");
        ensure!(agent(first)?.mirror(&path)?.status == 404, "{name}");
        let layer = &image.variants.first().context("no platform")?.layers[0];
        ensure!(
            holders(&bed, &layer.digest)? == 0,
            "{name}: nobody knows whose it is"
        );
    }

    // All else is as ever.
    pull(first, APP)?;
    for blob in app.native_blobs() {
        wait_shared(&bed, &blob.digest)?;
    }
    pull(second, APP)?;
    for (name, _) in &images {
        pull(second, name)?;
    }
    let received = agent(second)?.received()?;
    let bytes = received.get(&first.host.address).copied();
    ensure!(bytes >= Some(app.bytes() * 9 / 10), "{received:?}");
    bed.registry.settle()?;
    let broken: u64 = images.iter().map(|(_, image)| image.bytes()).sum();
    let sent = bed.registry.bytes_to(second.host.address);
    ensure!(sent >= broken * 9 / 10, "the registry sent {sent} bytes");
    let more = sent.saturating_sub(broken);
    ensure!(is_little(more, &app), "{more} bytes besides");
    wait_until("nothing to be counted twice", SHARED, || {
        let metrics = agent(first)?.admin("/metrics")?.text();
        Ok(metrics.contains(&counted).then_some(()))
    })
}

fn in_a_directory(release: Release) -> Result<()> {
    check(release, &[])
}

fn without_the_directory(release: Release) -> Result<()> {
    check(release, &["--content-path=/nowhere"])
}
