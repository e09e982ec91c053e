//! The image of the process that holds a pod's namespaces: a program that waits to be ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::cache;
use crate::exec::run;
use crate::image::host_architecture;

/// As containerd's settings name it.
pub(crate) const NAME: &str = "registry.test/lib/pause:v1";

/// As the first of a namespace it would not be ended by a signal that it does not handle.
const PROGRAM: &str = "#include <signal.h>
#include <unistd.h>
static void end(int signal) { (void)signal; _exit(0); }
int main(void) {
    signal(SIGINT, end);
    signal(SIGTERM, end);
    for (;;) pause();
}
";

/// Gives the image as an archive, made before or now.
pub(crate) fn archive() -> Result<PathBuf> {
    let directory = cache::directory("pause", |directory| {
        make(directory).context("making the image of pods' first process")
    })?;
    Ok(directory.join("pause.tar"))
}

fn make(directory: &Path) -> Result<()> {
    let source = directory.join("pause.c");
    let program = directory.join("pause");
    fs::write(&source, PROGRAM).context("writing a program")?;
    run(Command::new("cc")
        .args(["-static", "-Os", "-s", "-o"])
        .args([&program, &source]))?;
    let mut layer = tar::Builder::new(Vec::new());
    layer.append_path_with_name(&program, "pause")?;
    let layer = layer.into_inner()?;
    let config = json!({
        "architecture": host_architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let descriptor = |kind: &str, bytes: &[u8]| {
        let kind = format!("application/vnd.oci.image.{kind}");
        json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
    };
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor("config.v1+json", &config),
        "layers": [descriptor("layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut image = descriptor("manifest.v1+json", &manifest);
    if let Some(image) = image.as_object_mut() {
        let annotations = json!({"io.containerd.image.name": NAME});
        image.insert("annotations".to_owned(), annotations);
    }
    let index = json!({"schemaVersion": 2, "manifests": [image]});
    let file = File::create(directory.join("pause.tar")).context("creating an archive")?;
    let mut archive = tar::Builder::new(file);
    add(
        &mut archive,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    add(&mut archive, "index.json", index.to_string().as_bytes())?;
    for blob in [&layer, &config, &manifest] {
        let path = format!("blobs/{}", digest(blob).replace(':', "/"));
        add(&mut archive, &path, blob)?;
    }
    archive.finish().context("writing an archive")
}

fn add(archive: &mut tar::Builder<File>, path: &str, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(u64::try_from(bytes.len())?);
    archive
        .append_data(&mut header, path, bytes)
        .with_context(|| format!("packing {path}"))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
