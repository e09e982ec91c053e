//! Private images: their registry says who may have one, and peers give the layers.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use system_tests::{APP, PULL, bed, node, on_release, pull, push_app};
use testbed::{Agent, Bed, Image, Registry, Release, wait_until};

use super::{SHARED, agent, ctr, holders, peer_status, wait_shared};

on_release!(
    installed_containerd,
    Installed,
    the_registry_says_who_may_have_a_private_image
);

/// The longest wait of an agent before it asks a registry for a peer, and some more.
const ASKED: Duration = Duration::from_secs(14);
const REFUSED: [&str; 2] = ["401", "authorization failed"];

/// Nodes for which an image is private, and its registry, which wants a password.
fn private_bed(release: Release, racks: &[u8]) -> Result<(Bed, Image)> {
    let mut bed = bed(release, racks)?;
    let image = push_app(&bed)?;
    let run = bed.run().clone();
    let registry = bed.registry.serve_private(&run)?;
    bed.start_server(&[])?;
    bed.start_agents(&["--private=registry.test/lib/*"])?;
    bed.set_hosts(&[Agent::mirror_url(), registry])?;
    Ok((bed, image))
}

fn the_registry_says_who_may_have_a_private_image(release: Release) -> Result<()> {
    let (bed, image) = private_bed(release, &[2])?;
    let (first, second) = (node(&bed, 0)?, node(&bed, 1)?);
    let root = &image.root.digest;
    let name = format!("registry.test/lib/app@{root}");

    let credentials = Registry::CREDENTIALS;
    first.containerd.cri().pull_as(&name, credentials, PULL)?;
    let variant = image.variants.first().context("no platform")?;
    for layer in &variant.layers {
        wait_shared(&bed, &layer.digest)?;
    }
    let refused = second.containerd.cri().pull(&name, PULL);
    let refused = refused
        .err()
        .context("a pull without the secret went through")?;
    let refused = format!("{refused:#}");
    ensure!(
        REFUSED.iter().any(|word| refused.contains(word)),
        "{refused}"
    );
    ensure!(agent(second)?.received()?.is_empty(), "from the peer");

    second.containerd.cri().pull_as(&name, credentials, PULL)?;
    bed.registry.settle()?;
    let given = bed.registry.bytes_to(second.host.address);
    ensure!(
        system_tests::is_little(given, &image),
        "{given} from the registry"
    );
    let received = agent(second)?.received()?;
    ensure!(received.contains_key(&first.host.address), "{received:?}");

    // Nobody offers what the registry has to give, nor gives it, as the image and as what is in it.
    for digest in [root, &variant.manifest.digest] {
        ensure!(holders(&bed, digest)? == 0, "{digest} is offered");
        for kind in ["manifests", "blobs"] {
            let path = format!("/v2/lib/app/{kind}/{digest}?ns=registry.test");
            ensure!(agent(first)?.mirror(&path)?.status == 404, "{path}");
            ensure!(peer_status(first, &path)? == 404, "{path}");
        }
    }
    // Layers go by containerd's record of where they came from.
    let layer = &variant.layers[0].digest;
    let layer = |name: &str| format!("/v2/{name}/blobs/{layer}?ns=registry.test");
    wait_until("the second node to share its layers", SHARED, || {
        Ok((peer_status(second, &layer("lib/app"))? == 200).then_some(()))
    })?;
    for node in [first, second] {
        ensure!(peer_status(node, &layer("lib/app"))? == 200);
        ensure!(peer_status(node, &layer("lib/other"))? == 404);
        let elsewhere = layer("lib/app").replace("registry.test", "other.test");
        ensure!(peer_status(node, &elsewhere)? == 404);
    }
    Ok(())
}

/// With `--private auto` a node's images cost the registry nothing until somebody wants one.
#[test]
fn the_registry_is_asked_about_what_peers_want_and_nothing_else() -> Result<()> {
    let mut bed = bed(Release::Installed, &[1])?;
    let image = push_app(&bed)?;
    bed.set_hosts(&[bed.registry.url()])?;
    pull(node(&bed, 0)?, APP)?;
    bed.start_server(&[])?;
    let registry = format!("--registry-url=registry.test={}", bed.registry.url());
    bed.start_agents(&["--private=auto", &registry])?;
    let node = node(&bed, 0)?;
    let variant = image.variants.first().context("no platform")?;
    wait_shared(&bed, &variant.layers[0].digest)?;
    bed.registry.settle()?;
    let asked = || {
        let log = bed.registry.access_log().into_iter();
        log.filter(|entry| !entry.client.is_loopback()).count()
    };
    let before = asked();
    thread::sleep(ASKED);
    ensure!(asked() == before, "the registry was asked for nobody");

    let root = &image.root.digest;
    ensure!(holders(&bed, root)? == 0, "it may be private");
    let path = format!("/v2/lib/app/manifests/{root}?ns=registry.test");
    // A name that no image of the node has.
    let other = path.replace("lib/app", "lib/other");
    ensure!(peer_status(node, &other)? == 404 && peer_status(node, &path)? == 404);
    wait_until("the peer to get it", ASKED, || {
        Ok((peer_status(node, &path)? == 200).then_some(()))
    })?;
    wait_shared(&bed, root)?;
    bed.registry.settle()?;
    ensure!(asked() == before + 1, "{} requests", asked() - before);
    Ok(())
}

/// By name it is public now, and by containerd's record still private.
#[test]
fn while_containerd_does_not_say_whose_it_is_a_manifest_may_be_private() -> Result<()> {
    let (mut bed, image) = private_bed(Release::Installed, &[1])?;
    let root = &image.root.digest;
    let name = format!("registry.test/lib/app@{root}");
    let first = node(&bed, 0)?;
    let cri = first.containerd.cri();
    cri.pull_as(&name, Registry::CREDENTIALS, PULL)?;
    let copy = "registry.test/open/app:v1";
    ctr(first, "k8s.io", &["images", "tag", &name, copy])?;
    ctr(first, "k8s.io", &["images", "rm", &name])?;
    wait_shared(&bed, root)?;
    let first = bed.nodes.first_mut().context("no node")?;
    first.containerd.kill();
    let path = format!("/v2/open/app/manifests/{root}?ns=registry.test");
    ensure!(
        peer_status(first, &path)? == 404,
        "while containerd is away"
    );
    first.containerd.start()?;
    ensure!(peer_status(first, &path)? == 404, "by its record");
    Ok(())
}
