//! A disk that hardly reads holds up only who waits for what is on it.

use std::fs::File;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use system_tests::{APP, bed_with_piccolo, node, pull, push_app};
use testbed::{Node, Release, SlowDisk, wait_until};

/// More than any agent has threads that move bytes.
const READERS: usize = 12;
/// A piece that the kernel reads ahead takes two seconds for one reader, and more for each other.
const BYTES_PER_SECOND: u64 = 64 << 10;
const SOON: Duration = Duration::from_secs(20);

/// Forgets what is in memory of a file.
fn forget(file: &File) -> Result<()> {
    file.sync_all()?;
    wait_until("the file to leave memory", SOON, || {
        fadvise(file, 0, None, Advice::DontNeed)?;
        let mut byte = [0];
        let room = &mut [IoSliceMut::new(&mut byte)];
        let read = preadv2(file, room, 0, ReadWriteFlags::NOWAIT);
        Ok((read == Err(Errno::AGAIN)).then_some(()))
    })
}

/// Asks the node's mirror for an object.
fn ask(node: &Node, path: &str) -> Result<TcpStream> {
    let mirror = SocketAddr::from((Ipv4Addr::LOCALHOST, 7788));
    let mut stream = node.host.netns.connect(mirror, SOON)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

#[test]
fn a_slow_disk_does_not_hold_up_others() -> Result<()> {
    let bed = bed_with_piccolo(Release::Installed, &[1])?;
    let image = push_app(&bed)?;
    pull(node(&bed, 0)?, APP)?;
    let node = node(&bed, 0)?;
    let agent = node.agent.as_ref().context("the node has no agent")?;
    let path = |kind, digest| format!("/v2/lib/app/{kind}/{digest}?ns=x");
    let manifest = path("manifests", &image.root.digest);
    let variant = image.variants.first().context("an image of no platform")?;
    let layer = variant.layers.first().context("an image of no layers")?;
    let (_, hex) = layer.digest.split_once(':').context("an odd digest")?;
    let file = node.containerd.content().join("blobs/sha256").join(hex);
    let file = File::open(&file).with_context(|| format!("opening {}", file.display()))?;
    ensure!(
        agent.mirror(&manifest)?.status == 200,
        "it has the manifest"
    );
    forget(&file)?;

    let slow = SlowDisk::new(
        bed.run(),
        agent.process(),
        &node.containerd.content(),
        BYTES_PER_SECOND,
    )?;
    let target = path("blobs", &layer.digest);
    let begin = Instant::now();
    let readers = (0..READERS)
        .map(|_| ask(node, &target))
        .collect::<Result<Vec<_>>>()?;
    // Each has sent its head by then, or waits for the disk.
    for _ in 0..20 {
        let since = Instant::now();
        ensure!(
            agent.mirror(&manifest)?.status == 200,
            "it has the manifest"
        );
        let took = since.elapsed();
        ensure!(
            took < Duration::from_secs(1),
            "the disk held others up for {took:?}"
        );
    }
    let mut byte = [0];
    let room = &mut [IoSliceMut::new(&mut byte)];
    let end = preadv2(&file, room, layer.size - 1, ReadWriteFlags::NOWAIT);
    ensure!(
        end == Err(Errno::AGAIN),
        "the disk was not slow: {:?}",
        begin.elapsed()
    );
    drop(slow);

    let whole = usize::try_from(layer.size)?;
    let readers = readers.into_iter().map(|mut reader| {
        thread::spawn(move || {
            let mut answer = Vec::new();
            reader.read_to_end(&mut answer).map(|_| answer)
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        let answer = reader
            .join()
            .map_err(|_panic| anyhow::anyhow!("a reader panicked"))??;
        ensure!(answer.len() > whole, "{} bytes of {whole}", answer.len());
    }
    Ok(())
}
