//! What a node's disk has of a layer while it is pulled.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use testbed::Node;

/// Waits until a layer that a node is pulling has a number of bytes, and opens what it has of it.
///
/// # Errors
/// When they do not come in time.
pub fn arriving(node: &Node, bytes: u64) -> Result<(File, u64)> {
    let ingests = node.containerd.content().join("ingest");
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        for entry in fs::read_dir(&ingests).into_iter().flatten() {
            let data = entry?.path().join("data");
            let Ok(data) = File::options().read(true).write(true).open(data) else {
                continue;
            };
            let size = data.metadata()?.len();
            if size >= bytes {
                return Ok((data, size));
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(anyhow!("{bytes} bytes do not come to {}", node.host.name))
}

/// Opens the layer of which a node has the most so far, with how much that is.
///
/// # Errors
/// When it cannot be read.
pub fn arrived(node: &Node) -> Result<Option<(File, u64)>> {
    let mut most = None;
    let ingests = node.containerd.content().join("ingest");
    for entry in fs::read_dir(&ingests).into_iter().flatten() {
        // Ingests come and go.
        let Ok(entry) = entry else { continue };
        let data = entry.path().join("data");
        let Ok(data) = File::options().read(true).write(true).open(data) else {
            continue;
        };
        let size = data.metadata()?.len();
        if most.as_ref().is_none_or(|(_, most)| size > *most) {
            most = Some((data, size));
        }
    }
    Ok(most)
}

/// Damages a file, as a bad disk does: containerd has verified the byte on its way, and does not see it.
///
/// # Errors
/// When it cannot be read or written.
pub fn damage(data: &File, at: u64) -> Result<()> {
    let mut byte = [0];
    data.read_exact_at(&mut byte, at)?;
    Ok(data.write_all_at(&[!byte[0]], at)?)
}
