//! From a socket into memory that is to be full before anything is done with it.

use daemon::tls::Socket;

use super::{
    floor::Floor,
    low_water::LowWater,
    source::{SourceError, read},
};

/// Most bytes that are read before `got` sees them: what looks at them takes turns with others.
const STEP: usize = 256 << 10;

/// Fills `room` from its `filled`th byte on; `got` sees bytes as they come. What came before an error
/// stays, and a later call goes on behind it.
pub(crate) async fn fill(
    source: &Socket,
    room: &mut [u8],
    filled: &mut usize,
    floor: &mut Floor,
    mut got: impl FnMut(&[u8]),
) -> Result<(), SourceError> {
    let mut water = LowWater::new(source);
    while let Some(rest) = room.get_mut(*filled..).filter(|rest| !rest.is_empty()) {
        let most = rest.len().min(STEP);
        water.left(u64::try_from(most).unwrap_or(u64::MAX));
        let step = rest.get_mut(..most).unwrap_or_default();
        let count = read(source, step, floor, &mut water).await?;
        got(step.get(..count).unwrap_or_default());
        *filled += count;
        tokio::task::coop::consume_budget().await;
    }
    Ok(())
}
