//! Manifests are given under the names of repositories that have them, and under no others.

use anyhow::{Context as _, Result, ensure};
use system_tests::{APP, bed_with_piccolo, node, on_release, push_app};
use testbed::{Node, Release, wait_until};

use super::{SOON, agent, ctr, peer_status};

on_release!(
    installed_containerd,
    Installed,
    a_manifest_belongs_to_repositories
);

/// How a node's mirror and its listener for peers answer, where both have to answer alike.
fn status(node: &Node, path: &str) -> Result<u16> {
    let (own, peer) = (agent(node)?.mirror(path)?.status, peer_status(node, path)?);
    ensure!(own == peer, "{path}: {own} to containerd, {peer} to peers");
    Ok(own)
}

fn a_manifest_belongs_to_repositories(release: Release) -> Result<()> {
    let bed = bed_with_piccolo(release, &[2])?;
    let image = push_app(&bed)?;
    // The registry has it in a second repository as well, and not in a third.
    bed.registry.push(&image, "lib/second:v1")?;
    let (first, second) = (node(&bed, 0)?, node(&bed, 1)?);
    system_tests::pull(first, APP)?;
    bed.wait_until_shared(&image)?;
    let root = &image.root.digest;
    let layer = &image.variants.first().context("no platform")?.layers[0].digest;
    let manifest = |repository: &str| format!("/v2/{repository}/manifests/{root}?ns=registry.test");
    ensure!(status(first, &manifest("lib/app"))? == 200);
    ensure!(status(first, &manifest("lib/app").replace("?ns=registry.test", ""))? == 200);
    ensure!(
        status(
            first,
            &manifest("lib/app").replace("registry.test", "REGISTRY.test:443")
        )? == 200
    );
    ensure!(status(first, &manifest("lib/trusted"))? == 404);
    ensure!(
        status(
            first,
            &manifest("lib/app").replace("registry.test", "other.test")
        )? == 404
    );
    // As containerd asks on when it is told that there is no such manifest.
    ensure!(
        status(
            first,
            &manifest("lib/trusted").replace("manifests", "blobs")
        )? == 404
    );
    ensure!(status(first, &manifest("lib/app").replace("manifests", "blobs"))? == 200);
    for repository in ["lib/app", "lib/trusted"] {
        let path = format!("/v2/{repository}/blobs/{layer}?ns=registry.test");
        ensure!(
            status(first, &path)? == 200,
            "layers are the same everywhere"
        );
    }

    // The other node asks peers under the same name, and then the registry decides.
    let pull = |name: &str| {
        let name = format!("registry.test/{name}@{root}");
        second.containerd.cri().pull(&name, system_tests::PULL)
    };
    ensure!(
        pull("lib/trusted").is_err(),
        "the registry has no such image"
    );
    ensure!(agent(second)?.mirror(&manifest("lib/trusted"))?.status == 404);
    // From a peer, and from what was fetched for the right name a moment ago.
    ensure!(agent(second)?.mirror(&manifest("lib/app"))?.status == 200);
    ensure!(agent(second)?.mirror(&manifest("lib/trusted"))?.status == 404);
    pull("lib/second").context("the registry has it")?;
    wait_until("the other node to share it", SOON, || {
        let is_shared = peer_status(second, &manifest("lib/second"))? == 200;
        Ok(is_shared.then_some(()))
    })?;
    ensure!(status(second, &manifest("lib/second"))? == 200);
    // Its containerd may get it from the other node.
    ensure!(peer_status(first, &manifest("lib/second"))? == 404);

    // What containerd has recorded as its source counts as well.
    let label = "containerd.io/distribution.source.registry.test=lib/app,lib/recorded";
    ctr(first, "k8s.io", &["content", "label", root, label])?;
    // What it said before stands for a moment.
    wait_until("the agent to see the label", SOON, || {
        let is_seen = status(first, &manifest("lib/recorded"))? == 200;
        Ok(is_seen.then_some(()))
    })?;
    // There without the port of the registry.
    let at_a_port = manifest("lib/recorded").replace("registry.test", "registry.test:5000");
    ensure!(status(first, &at_a_port)? == 200);
    ensure!(status(first, &manifest("lib/trusted"))? == 404);
    Ok(())
}
