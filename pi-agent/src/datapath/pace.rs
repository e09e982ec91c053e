//! A limit to the rate of all uploads together, shared fairly.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::TURN;

/// Lets transfers go on at a common rate. Each takes a turn, and turns are given in the order in
/// which they are asked for, so that transfers get equal shares. Clones share the rate.
#[derive(Debug, Clone)]
pub struct Pace(Option<Arc<Limit>>);

#[derive(Debug)]
struct Limit {
    rate: NonZeroU64,
    /// When the turns that were given are used up.
    until: Mutex<Instant>,
}

/// The turns of limited transfers: small enough that shares are even within some milliseconds, and
/// that at a low rate too nobody waits for a turn as long as for a peer that stands still.
const LIMITED_TURN: (u64, u64) = (4 << 10, 128 << 10);
const TURNS_A_SECOND: u64 = 64;
/// What may be sent at once after a rest.
const BURST: Duration = Duration::from_millis(50);

impl Pace {
    /// No limit.
    pub fn free() -> Self {
        Self(None)
    }

    /// At most `rate` bytes a second.
    pub fn limited(rate: NonZeroU64) -> Self {
        Self(Some(Arc::new(Limit {
            rate,
            until: Mutex::new(Instant::now()),
        })))
    }

    /// Most bytes to ask for at a time.
    pub(super) fn turn(&self) -> u64 {
        match &self.0 {
            Some(limit) => {
                (limit.rate.get() / TURNS_A_SECOND).clamp(LIMITED_TURN.0, LIMITED_TURN.1)
            }
            None => u64::try_from(TURN).unwrap_or(u64::MAX),
        }
    }

    /// Waits for the turn of `bytes`, and tells for how long.
    pub(crate) async fn take(&self, bytes: u64) -> Duration {
        let Some(limit) = &self.0 else {
            return Duration::ZERO;
        };
        let begin = Instant::now();
        let at = limit.reserve(bytes, begin);
        tokio::time::sleep_until(at).await;
        begin.elapsed()
    }
}

impl Limit {
    /// When a turn of `bytes` may begin that is asked for at `now`.
    fn reserve(&self, bytes: u64, now: Instant) -> Instant {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut until = self.until.lock();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let begin = (*until).max(earliest);
        *until = begin + cost;
        begin
    }
}
