//! A pull that containerd takes up again after it was killed in the middle of a layer.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use testbed::{Bed, wait_until};

use super::{Lab, PULLER, Pulled};
use crate::{APP, PULL};

/// How long the first part of the layer may take.
const BEGUN: Duration = Duration::from_secs(20);

/// Kills the puller's containerd in the middle of the layer, starts it again, and the agent with these flags, and
/// pulls from a peer with this fault, the only one that has the rest.
///
/// # Errors
/// When the pull fails, or does not begin in the middle.
pub fn pull(lab: &mut Lab, fault: &str, agent: &[&str]) -> Result<Pulled> {
    interrupt(lab)?;
    // The one before has given up a peer at the same address for this layer.
    lab.restart_puller_with(agent)?;
    let faulty = lab.start_faulty(fault)?;
    let pulled = lab.pull(false)?;
    ensure!(
        faulty.misbehaved_within(),
        "the faulty peer was not asked for the rest of the layer: {}",
        faulty.process.log()
    );
    Ok(pulled)
}

/// Leaves the puller with about half of the layer.
fn interrupt(lab: &mut Lab) -> Result<()> {
    // Half-way it falls silent, which the agent takes two seconds to give up.
    let silent = lab.start_faulty("stop")?;
    let (least, cri) = (lab.image.bytes() / 4, lab.puller()?.containerd.cri());
    let pulling = thread::spawn(move || cri.pull(&Bed::image_name(APP), PULL).is_ok());
    let puller = lab.puller()?;
    wait_until("a part of the layer to be there", BEGUN, || {
        Ok((puller.containerd.content_bytes() > least).then_some(()))
    })?;
    lab.claim(silent.holder, &[])?;
    let node = lab.bed.nodes.get_mut(PULLER).context("no such node")?;
    node.containerd.kill();
    let pulled = pulling.join().unwrap_or(true);
    ensure!(!pulled, "the layer was there before containerd was killed");
    node.containerd.start()?;
    let kept = node.containerd.content_bytes();
    ensure!(kept > least, "containerd kept {kept} bytes");
    Ok(())
}
