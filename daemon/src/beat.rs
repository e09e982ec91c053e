//! Timers that fire together, to wake the processor up less often.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Waits for the next multiple of `every`, counted from the machine's start, so that all periodic
/// tasks share one wake-up. Not for network traffic: all nodes would send at the same moment.
pub async fn beat(every: Duration) {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    tokio::time::sleep(left(Duration::new(seconds, nanos), every)).await;
}

/// Time from `now` to the next multiple of `every`; a full interval if `now` is a multiple.
fn left(now: Duration, every: Duration) -> Duration {
    let gone = now.as_nanos().checked_rem(every.as_nanos()).unwrap_or(0);
    every.saturating_sub(Duration::from_nanos(u64::try_from(gone).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_end_on_multiples(now in 0..u64::MAX / 4, every in 1..1u64 << 40) {
            let pause = left(Duration::from_nanos(now), Duration::from_nanos(every));
            prop_assert!(pause > Duration::ZERO && pause <= Duration::from_nanos(every));
            prop_assert_eq!((u128::from(now) + pause.as_nanos()) % u128::from(every), 0);
        }
    }

    #[test]
    fn no_time_between_beats_is_no_pause() {
        assert_eq!(left(Duration::from_secs(5), Duration::ZERO), Duration::ZERO);
    }
}
