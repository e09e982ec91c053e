//! Layers that are damaged on the disks of those that have them: the pulls of others succeed.

use std::{fs::File, os::unix::fs::FileExt as _};

use anyhow::{Context as _, Result, ensure};
use system_tests::{APP, bed, node, on_each_release, pull};
use testbed::{Agent, Bed, Image, ImageSpec, Layer, Node, Packing, Release, wait_until};

use super::{SOON, agent, ctr};

on_each_release!(a_wrong_byte_each_on_all_holders);

/// The layer's size, in KiB.
const LAYER: u32 = 20_000;
/// The nodes that have the damaged layers, and the one that pulls.
const HOLDERS: [usize; 2] = [0, 1];
const PULLER: usize = 2;

/// Writes another byte into the layer that a node's containerd has.
fn damage(node: &Node, image: &Image, at: u64) -> Result<()> {
    let layer = &image.variants.first().context("no platform")?.layers[0].digest;
    let file = (node.containerd.content().join("blobs")).join(layer.replace(':', "/"));
    let file = File::options().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[!byte[0]], at)?;
    Ok(())
}

/// Whether a node has found one of its blobs to be damaged.
fn damaged(node: &Node) -> Result<bool> {
    let metrics = agent(node)?.admin("/metrics")?.text();
    Ok(metrics.contains("piccolo_agent_damaged_blobs_total 1"))
}

/// What the registry had to send for a pull that has to succeed at once.
fn sent_for(bed: &Bed, pulled: impl FnOnce(&Node) -> Result<()>) -> Result<u64> {
    let puller = node(bed, PULLER)?;
    bed.registry.settle()?;
    let before = bed.registry.bytes_to(puller.host.address);
    pulled(puller)?;
    bed.registry.settle()?;
    Ok(bed.registry.bytes_to(puller.host.address) - before)
}

fn a_wrong_byte_each_on_all_holders(release: Release) -> Result<()> {
    let mut bed = bed(release, &[2, 1])?;
    let layer = Layer {
        kibibytes: LAYER,
        packing: Packing::Tar,
    };
    let image = ImageSpec {
        layers: vec![layer],
        ..ImageSpec::small("damaged")
    }
    .build()?;
    bed.registry.push(&image, APP)?;
    bed.set_hosts(&[bed.registry.url()])?;
    for (number, at) in HOLDERS.into_iter().zip([100_000, 19_000_000]) {
        pull(node(&bed, number)?, APP)?;
        damage(node(&bed, number)?, &image, at)?;
    }
    bed.start_server(&[])?;
    bed.start_agents(&[])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    bed.wait_until_shared(&image)?;

    let sent = sent_for(&bed, |puller| pull(puller, APP)).context("by the CRI")?;
    let whole = image.bytes();
    let is_all = |sent: u64| sent >= whole * 19 / 20 && sent <= whole * 21 / 20;
    ensure!(is_all(sent), "{sent} of {whole} bytes by the CRI");
    for number in HOLDERS {
        ensure!(
            damaged(node(&bed, number)?)?,
            "holder {number} does not know"
        );
    }

    let containerd = &node(&bed, PULLER)?.containerd;
    let name = Bed::image_name(APP);
    containerd.cri().remove(&name)?;
    wait_until("the image to be collected", SOON, || {
        Ok((containerd.content_bytes() == 0).then_some(()))
    })?;
    let hosts = format!("--hosts-dir={}", containerd.hosts_directory().display());
    let arguments = ["images", "pull", &hosts, &name];
    let sent = sent_for(&bed, |puller| ctr(puller, "k8s.io", &arguments)).context("by ctr")?;
    ensure!(is_all(sent), "{sent} of {whole} bytes by ctr");
    Ok(())
}
