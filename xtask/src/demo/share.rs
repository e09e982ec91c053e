//! Waits for the moment from which the other nodes can get everything from the first.

use std::time::Duration;

use anyhow::{Context as _, Result};
use testbed::{Bed, Image, wait_until};

const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until the server knows a holder of every part of the image.
pub(super) fn wait_until_known(bed: &Bed, image: &Image) -> Result<()> {
    let server = bed.server.as_ref().context("no server runs")?;
    wait_until(
        "the server to know the first node's layers",
        DEADLINE,
        || {
            for blob in image.native_blobs() {
                if server.holders(Bed::group(), &blob.digest)? == 0 {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        },
    )
}
