//! The images as they are shipped, but for programs that were built fast: `cargo xtask image --quick`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{Node, binary, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// Imports a program's image on a node, and gives its name there. CRI learns of it by an event.
///
/// # Errors
///
/// When the image has not been made, or is older than the program.
pub fn import(node: &Node, program: &str) -> Result<String> {
    node.containerd.import(&archive(program)?)?;
    let part = format!("/{program}:");
    wait_until("the node to have the image", SOON, || {
        let images = node.containerd.cri().list()?;
        let mut tags = images.into_iter().flat_map(|image| image.tags);
        Ok(tags.find(|tag| tag.contains(&part)))
    })
}

/// Unpacks the image of an architecture into a directory, and gives the program's file there.
///
/// # Errors
///
/// When the image has not been made, or is not as it should be.
pub fn unpack(program: &str, architecture: &str, directory: &Path) -> Result<PathBuf> {
    let layout = directory.join("layout");
    fs::create_dir_all(&layout).context("making a directory")?;
    untar(&archive(program)?, &layout, &[])?;
    let top = json(&layout.join("index.json"))?;
    let index = json(&blob(&layout, &top["manifests"][0])?)?;
    let manifests = index["manifests"].as_array().context("no manifests")?;
    let manifest = manifests
        .iter()
        .find(|manifest| manifest["platform"]["architecture"] == architecture)
        .with_context(|| format!("the image is none of {architecture}"))?;
    let manifest = json(&blob(&layout, manifest)?)?;
    untar(
        &blob(&layout, &manifest["layers"][0])?,
        directory,
        &["--gzip"],
    )?;
    let config = json(&blob(&layout, &manifest["config"])?)?;
    let entry = config["config"]["Entrypoint"][0].as_str();
    let entry = entry.context("the image starts nothing")?;
    Ok(directory.join(entry.trim_start_matches('/')))
}

fn archive(program: &str) -> Result<PathBuf> {
    let built = binary(program)?;
    let target = built.ancestors().nth(2).context("no target directory")?;
    let archive = target.join(format!("dist/{program}-quick.oci.tar"));
    let age = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let is_fresh = age(&archive).is_ok_and(|made| age(&built).is_ok_and(|built| made >= built));
    ensure!(
        is_fresh,
        "{} is not there, or older than the program: `cargo xtask test` makes it, or `cargo xtask image --quick`",
        archive.display()
    );
    Ok(archive)
}

fn blob(layout: &Path, descriptor: &Value) -> Result<PathBuf> {
    let digest = descriptor["digest"].as_str().context("no digest")?;
    Ok(layout.join("blobs").join(digest.replace(':', "/")))
}

fn json(file: &Path) -> Result<Value> {
    let text = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("parsing {}", file.display()))
}

fn untar(archive: &Path, directory: &Path, flags: &[&str]) -> Result<()> {
    let input = File::open(archive).with_context(|| format!("opening {}", archive.display()))?;
    let mut tar = Command::new("tar");
    tar.arg("--extract")
        .args(flags)
        .arg("--directory")
        .arg(directory);
    let done = tar
        .stdin(Stdio::from(input))
        .status()
        .context("starting tar")?;
    ensure!(
        done.success(),
        "{} is not unpacked: {done}",
        archive.display()
    );
    Ok(())
}
