//! The token bucket for nodes that may fetch from the registry because they waited too long.

use std::time::Duration;

use crate::Budget;

#[derive(Debug)]
pub(crate) struct Bucket {
    budget: Budget,
    /// When the bucket is full again if no more tokens are taken; each token taken defers it.
    full_at: Duration,
}

impl Bucket {
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            budget,
            full_at: Duration::ZERO,
        }
    }

    /// Whether one more may go now; it has gone then.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let Budget { burst, refill } = self.budget;
        let full_at = self.full_at.max(now) + refill;
        let may = full_at <= now + refill * burst;
        if may {
            self.full_at = full_at;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refills_with_time_and_holds_no_more_than_a_burst() {
        let second = Duration::from_secs(1);
        let mut bucket = Bucket::new(Budget {
            burst: 3,
            refill: second,
        });
        let mut at = |seconds: u64| {
            let now = second * u32::try_from(seconds).expect("few");
            (0..10).filter(|_| bucket.take(now)).count()
        };
        assert_eq!([at(0), at(0), at(1), at(3), at(100)], [3, 0, 1, 2, 3]);
    }
}
