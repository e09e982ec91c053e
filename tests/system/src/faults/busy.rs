//! A busy peer that names others in its place, among them addresses that nobody should ask.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use testbed::get;

use super::{Lab, NO_FAULT, PULLER};
use crate::{is_little, node};

/// A port of the puller on which nobody should ask.
const TRAP: u16 = 9000;
/// An address of the puller that peers do not know.
const SECOND: Ipv4Addr = Ipv4Addr::new(198, 18, 200, 1);
/// Where clouds tell a machine its secrets.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Pulls an image whose only holder is busy and names addresses of the puller itself, and behind
/// them another holder.
///
/// # Errors
/// When one of the puller's own is asked, or the other holder is not.
pub fn check(lab: &mut Lab) -> Result<()> {
    lab.stop_holder()?;
    let puller = node(&lab.bed, PULLER)?.host.clone();
    for address in [SECOND, METADATA] {
        puller.add_address(address)?;
    }
    let blobs = lab.blobs()?;
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, TRAP));
    let trap = lab.start_process(&puller, everywhere, "server-error", &blobs, &[])?;
    let good = lab.start_peer(NO_FAULT, &blobs, &[], &[])?;
    let named = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, TRAP)),
        SocketAddr::from((METADATA, TRAP)),
        SocketAddr::from((SECOND, TRAP)),
        SocketAddr::new(puller.address, TRAP),
        good.holder,
    ];
    let named = named.map(|address| format!("--alternate={address}"));
    let busy = lab.start_peer("too-many-requests", &blobs, &lab.digests(), &named)?;
    let pulled = lab.pull(false)?;
    ensure!(busy.misbehaved(), "the busy peer was not asked");
    ensure!(
        !trap.log().contains("misbehaves"),
        "an address of the puller itself was asked: {}",
        trap.log()
    );
    ensure!(
        is_little(pulled.from_registry, &lab.image),
        "the other holder was not asked: {pulled:?}"
    );
    // The trap would have shown it.
    let layer = lab.image.native_blobs().find(|blob| blob.size > 1 << 20);
    let layer = &layer.context("no layer is large")?.digest;
    let path = format!("/v2/lib/app/blobs/{layer}");
    for address in [Ipv4Addr::LOCALHOST, METADATA, SECOND] {
        let answer = get(&puller.netns, (address, TRAP).into(), &path)?;
        ensure!(answer.status == 500, "the trap answers {}", answer.status);
    }
    ensure!(trap.log().contains("misbehaves"), "the trap does not tell");
    Ok(())
}
