//! What a node offers follows what its containerd has: pulls, imports, removals, garbage
//! collection, restarts, and a content store whose directory cannot be read.

mod archive;
mod broken;
mod damaged;
mod grpc;
mod named;
mod operator;
mod private;
mod tags;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pi_agent::status::Status;
use system_tests::{APP, bed, node, on_each_release, pull, push_app};
use testbed::{Agent, Bed, ImageSpec, Node, Release, get, wait_until};

use archive::Archive;

on_each_release!(comes_and_goes, stays_while_containerd_is_away,);

/// The promise is a second from a commit and two from a deletion; the rest is for a busy machine.
const SHARED: Duration = Duration::from_secs(4);
const GONE: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(20);

/// A key's holders, as the server knows them.
fn holders(bed: &Bed, key: &str) -> Result<usize> {
    let server = bed.server.as_ref().context("no server runs")?;
    server.holders(Bed::group(), key)
}

fn wait_shared(bed: &Bed, key: &str) -> Result<()> {
    wait_until(&format!("{key} to be shared"), SHARED, || {
        Ok((holders(bed, key)? > 0).then_some(()))
    })
}

fn wait_gone(bed: &Bed, key: &str) -> Result<()> {
    wait_until(&format!("{key} to be withdrawn"), GONE, || {
        Ok((holders(bed, key)? == 0).then_some(()))
    })
}

fn agent(node: &Node) -> Result<&Agent> {
    node.agent.as_ref().context("the node has no agent")
}

fn status(node: &Node) -> Result<Status> {
    let answer = agent(node)?.admin("/status")?;
    serde_json::from_slice(&answer.body).context("parsing the agent's status")
}

/// Runs containerd's own client on a node.
fn ctr(node: &Node, namespace: &str, arguments: &[&str]) -> Result<()> {
    let output = (node.host.netns.command("ctr"))
        .arg("--address")
        .arg(node.containerd.socket())
        .args(["--namespace", namespace])
        .args(arguments)
        .output()
        .context("running ctr")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ctr {arguments:?}: {error}");
    Ok(())
}

/// How the agent's listener for peers answers.
fn peer_status(node: &Node, path: &str) -> Result<u16> {
    let address = (node.host.address, 7787).into();
    Ok(get(&node.host.netns, address, path)?.status)
}

fn comes_and_goes(release: Release) -> Result<()> {
    let mut bed = bed(release, &[1])?;
    let image = push_app(&bed)?;
    let secret = ImageSpec::small("secret").build()?;
    bed.registry.push(&secret, "lib/secret:v1")?;
    bed.start_server(&[])?;
    let namespaces = "--containerd-namespace=k8s.io,other";
    bed.start_agents(&[namespaces, "--deny=registry.test/lib/secret"])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    let node = node(&bed, 0)?;

    pull(node, "lib/secret:v1")?;
    pull(node, APP)?;
    for blob in image.native_blobs() {
        wait_shared(&bed, &blob.digest)?;
    }
    let blob = |digest: &str| format!("/v2/lib/secret/blobs/{digest}?ns=registry.test");
    for denied in secret.native_blobs() {
        assert_eq!(holders(&bed, &denied.digest)?, 0, "on the deny list");
        assert_eq!(peer_status(node, &blob(&denied.digest))?, 404);
        // containerd itself may have it all the same.
        assert_eq!(agent(node)?.mirror(&blob(&denied.digest))?.status, 200);
    }

    // A layer goes, the image stays.
    let layers = &image.variants.first().context("no platform")?.layers;
    let (gone, kept) = (&layers[0].digest, &layers[1].digest);
    ctr(node, "k8s.io", &["content", "rm", gone])?;
    wait_gone(&bed, gone)?;
    assert_eq!(holders(&bed, kept)?, 1);
    assert_eq!(peer_status(node, &blob(gone))?, 404);

    // No registry, a type that nobody knows, a part that is missing, as long as can be.
    let archive = Archive::write(bed.run().directory())?;
    let file = archive.file.display().to_string();
    let import = ["images", "import", "--no-unpack", "--all-platforms"];
    let base = ["--base-name", "registry.test/lib/artifact", &file];
    ctr(node, "other", &[&import[..], &base].concat())?;
    for digest in [&archive.manifest, &archive.config, &archive.part] {
        wait_shared(&bed, digest)?;
    }
    assert_eq!(holders(&bed, &archive.missing)?, 0);
    let path = format!(
        "/v2/lib/artifact/manifests/{}?ns=registry.test",
        archive.manifest
    );
    let manifest = agent(node)?.mirror(&path)?;
    assert_eq!((manifest.status, manifest.body.len()), (200, 4 << 20));
    assert_eq!(manifest.header("content-type"), Some(archive::MEDIA_TYPE));

    // Garbage collection tells nobody.
    ctr(
        node,
        "other",
        &["images", "rm", "registry.test/lib/artifact:v1"],
    )?;
    node.containerd.cri().remove(&Bed::image_name(APP))?;
    for digest in [&archive.manifest, &archive.part, kept, &image.root.digest] {
        wait_gone(&bed, digest)?;
    }
    let standing = status(node)?.standing;
    assert_eq!(standing.syncs, 1, "the set was sent once, then its changes");
    assert!(standing.synced && standing.seq > 3, "{standing:?}");
    Ok(())
}

fn stays_while_containerd_is_away(release: Release) -> Result<()> {
    let mut bed = bed(release, &[1])?;
    let image = push_app(&bed)?;
    let second = ImageSpec::small("second").build()?;
    bed.registry.push(&second, "lib/second:v1")?;
    bed.start_server(&[])?;
    bed.start_agents(&[])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    pull(node(&bed, 0)?, APP)?;
    bed.wait_until_shared(&image)?;

    let containerd = |bed: &Bed, connected: bool| {
        wait_until("the agent to notice", SOON, || {
            let status = status(node(bed, 0)?)?;
            Ok((status.content.containerd_connected == connected).then_some(()))
        })
    };
    bed.nodes[0].containerd.stop()?;
    containerd(&bed, false)?;
    let path = format!("/v2/lib/app/blobs/{}?ns=registry.test", image.root.digest);
    assert_eq!(peer_status(node(&bed, 0)?, &path)?, 200, "it has it still");
    assert_eq!(holders(&bed, &image.root.digest)?, 1);

    bed.nodes[0].containerd.start()?;
    containerd(&bed, true)?;
    let node = node(&bed, 0)?;
    pull(node, "lib/second:v1")?;
    for blob in second.native_blobs() {
        wait_shared(&bed, &blob.digest)?;
    }
    for blob in image.native_blobs() {
        assert_eq!(holders(&bed, &blob.digest)?, 1, "it was never withdrawn");
    }
    assert_eq!(status(node)?.standing.syncs, 1);
    Ok(())
}
