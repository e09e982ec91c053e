//! A disk that hardly reads holds up only who waits for what is on it.

use std::fs::File;
use std::io::{IoSliceMut, Read as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use system_tests::{APP, bed_with_piccolo, node, pull, push_app};
use testbed::{Agent, Answer, Release, SlowDisk, wait_until};

/// More than an agent has threads, of whatever kind.
const READERS: usize = 100;
/// At this rate the blob takes more than half a minute.
const BYTES_PER_SECOND: u64 = 64 << 10;
const SOON: Duration = Duration::from_secs(20);

/// Reads one byte, if it is in memory.
fn byte_of(file: &File, offset: u64) -> Result<usize, Errno> {
    let mut byte = [0];
    let room = &mut [IoSliceMut::new(&mut byte)];
    preadv2(file, room, offset, ReadWriteFlags::NOWAIT)
}

/// What the mirror answers, which must not take long.
fn at_once(agent: &Agent, path: &str) -> Result<Answer> {
    let since = Instant::now();
    let answer = agent.mirror(path)?;
    let took = since.elapsed();
    ensure!(
        took < Duration::from_secs(1),
        "the disk held {path} up for {took:?}"
    );
    Ok(answer)
}

#[test]
fn a_slow_disk_does_not_hold_up_others() -> Result<()> {
    let bed = bed_with_piccolo(Release::Installed, &[1])?;
    let image = push_app(&bed)?;
    pull(node(&bed, 0)?, APP)?;
    let node = node(&bed, 0)?;
    let agent = node.agent.as_ref().context("the node has no agent")?;
    let path = |kind: &str, digest: &str| format!("/v2/lib/app/{kind}/{digest}?ns=registry.test");
    let manifest = path("manifests", &image.root.digest);
    let variant = image.variants.first().context("an image of no platform")?;
    let [slow, fast, ..] = variant.layers.as_slice() else {
        bail!("an image of too few layers");
    };
    let (_, hex) = slow.digest.split_once(':').context("an odd digest")?;
    let content = node.containerd.content();
    let file = content.join("blobs/sha256").join(hex);
    let file = File::open(&file).with_context(|| format!("opening {}", file.display()))?;
    ensure!(agent.mirror(&manifest)?.status == 200, "no manifest");
    file.sync_all()?;
    // The first of it only: a look has the kernel read what it finds missing.
    wait_until("the layer to leave memory", SOON, || {
        fadvise(&file, 0, None, Advice::DontNeed)?;
        Ok((byte_of(&file, 0) == Err(Errno::AGAIN)).then_some(()))
    })?;

    let disk = SlowDisk::new(bed.run(), agent.process(), &content, BYTES_PER_SECOND)?;
    let target = path("blobs", &slow.digest);
    let readers = (0..READERS)
        .map(|_| agent.ask(&target, SOON))
        .collect::<Result<Vec<_>>>()?;
    for number in 0..20 {
        ensure!(at_once(agent, &manifest)?.status == 200, "no manifest");
        let layer = at_once(agent, &path("blobs", &fast.digest))?;
        ensure!(
            u64::try_from(layer.body.len())? == fast.size,
            "half a layer"
        );
        let absent = path("blobs", &format!("sha256:{number:064}"));
        ensure!(
            at_once(agent, &absent)?.status == 404,
            "{absent} is nowhere"
        );
    }
    let end = byte_of(&file, slow.size - 1);
    ensure!(end == Err(Errno::AGAIN), "the disk was not slow");
    drop(disk);

    let whole = usize::try_from(slow.size)?;
    let readers = readers.into_iter().map(|mut reader| {
        thread::spawn(move || {
            let mut answer = Vec::new();
            reader.read_to_end(&mut answer).map(|_| answer)
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        let answer = reader.join();
        let answer = answer.map_err(|_panic| anyhow!("a reader panicked"))??;
        ensure!(answer.len() > whole, "{} bytes of {whole}", answer.len());
    }
    let metrics = agent.admin("/metrics")?.text();
    let read = "piccolo_agent_disk_reads_total{outcome=\"done\"}";
    ensure!(
        metrics.contains(read),
        "what came from the disk is not counted"
    );
    Ok(())
}
