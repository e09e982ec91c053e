//! What many large fetches at once cost in memory.

use std::{
    fs,
    io::Read as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use testbed::{Agent, Release, wait_until};

use super::{Lab, NO_FAULT, soak::field};

/// Size of each object.
const OBJECT: u64 = 1 << 30;
/// As much of each is read; then the fetch is broken off.
const READ: u64 = 16 << 20;
const SILENCE: Duration = Duration::from_secs(30);

/// Lets a node's agent fetch `count` objects of 1 GiB at once from one peer, and gives the most
/// memory that was resident in it, in bytes.
///
/// # Errors
/// When a fetch does not begin.
pub fn peak(release: Release, count: u8) -> Result<u64> {
    let mut lab = Lab::new(release, 4 << 10)?;
    let digests: Vec<_> = (0..count)
        .map(|number| format!("sha256:{}", format!("{number:02x}").repeat(32)))
        .collect();
    let empty = lab.bed.run().make_directory("no-blobs")?;
    let zeros = format!("--zeros={OBJECT}");
    let _peer = lab.start_peer(NO_FAULT, &empty, &digests, &[zeros])?;
    let agent = lab.puller()?.agent.as_ref().context("no agent")?;
    let begun = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let all = digests.len();
    let together = || {
        begun.fetch_add(1, Ordering::SeqCst);
        wait_until("all fetches to be in flight", SILENCE, || {
            let is_over = failed.load(Ordering::SeqCst) || begun.load(Ordering::SeqCst) == all;
            Ok(is_over.then_some(()))
        })
    };
    thread::scope(|scope| {
        let readers: Vec<_> = digests
            .iter()
            .map(|digest| {
                scope.spawn(|| {
                    // The others need not wait for it, and its error is what counts.
                    read(agent, digest, together)
                        .inspect_err(|_| failed.store(true, Ordering::SeqCst))
                })
            })
            .collect();
        for reader in readers {
            reader
                .join()
                .map_err(|_panic| anyhow!("a reader panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let status = fs::read_to_string(format!("/proc/{}/status", agent.process().id()))?;
    Ok(field(&status, "VmHWM:").context("no VmHWM")? << 10)
}

/// Asks the mirror for an object, and reads its beginning once all others have theirs too.
fn read(agent: &Agent, digest: &str, together: impl Fn() -> Result<()>) -> Result<()> {
    let target = format!("/v2/lib/large/blobs/{digest}?ns=registry.test");
    let mut stream = agent.ask(&target, SILENCE)?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    ensure!(
        head.ends_with(b" 200"),
        "not served: {}",
        String::from_utf8_lossy(&head)
    );
    together()?;
    let read = std::io::copy(&mut stream.take(READ), &mut std::io::sink())?;
    ensure!(read == READ, "only {read} bytes came");
    Ok(())
}
