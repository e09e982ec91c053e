//! From one socket to another through memory: where something looks at the bytes, or where the
//! kernel does not splice.

use daemon::tls::Socket;
use tokio::time::Instant;

use super::{
    floor::Floor,
    low_water::LowWater,
    relayed::{End, Relayed},
    send::write_all,
    source::read,
    tally::Tally,
    wait::Patience,
};

/// Size of the buffer. A quarter of it would cost more wake-ups, four times it only memory.
const BUFFER: usize = 256 << 10;

/// Looks at the bytes on their way.
pub(crate) trait Tap: Send {
    /// Bytes that are about to be passed on, in their order.
    fn look(&mut self, bytes: &[u8]);
}

/// Nobody looks.
struct Blind;

impl Tap for Blind {
    fn look(&mut self, _: &[u8]) {}
}

/// Moves `length` bytes from `source` to `sink`, with `tap` looking at each.
pub(crate) async fn copy(
    source: &Socket,
    sink: &Socket,
    length: u64,
    floor: &mut Floor,
    patience: Patience,
    tap: &mut dyn Tap,
    tally: &mut impl Tally,
) -> Relayed {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    let mut water = LowWater::new(source);
    let end = loop {
        water.left(length - total);
        let most = usize::try_from(length - total).unwrap_or(usize::MAX);
        if most == 0 {
            break End::Complete;
        }
        let room = most.min(buffer.len());
        let Some(room) = buffer.get_mut(..room) else {
            break End::Complete;
        };
        let read = match read(source, room, floor, &mut water).await {
            Ok(read) => read,
            Err(error) => break End::Source(error),
        };
        let bytes = room.get(..read).unwrap_or_default();
        let count = u64::try_from(read).unwrap_or(u64::MAX);
        tally.came(count);
        tap.look(bytes);
        let since = Instant::now();
        if let Err(error) = write_all(sink, bytes, patience).await {
            break End::Sink(error);
        }
        floor.pause(since.elapsed());
        total += count;
        tally.went(count);
        tokio::task::coop::consume_budget().await;
    };
    Relayed { moved: total, end }
}

/// [`copy`] with nobody looking.
pub(super) async fn copy_rest(
    source: &Socket,
    sink: &Socket,
    length: u64,
    floor: &mut Floor,
    patience: Patience,
    tally: &mut impl Tally,
) -> Relayed {
    copy(source, sink, length, floor, patience, &mut Blind, tally).await
}
