//! One measured transfer, and whether it measures the path.

use std::time::Duration;

use serde::Serialize;

use crate::Rate;

/// What one host received from another since its last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Bytes of transfers long enough to be rated.
    pub rated_bytes: u64,
    /// The time in which they moved.
    pub busy: Duration,
    /// The time that the report covers, from its end back; not less than `busy`.
    pub span: Duration,
    /// What held the transfer back.
    pub bound: Bound,
}

/// What held a transfer back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The network, presumably.
    Network,
    /// The sender or the receiver: a rate limit, a slow disk. It does not measure the path.
    Application,
    /// It failed, possibly not because of the network.
    Failed,
}

/// Whether a sample was used, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Counted,
    /// Fewer bytes than `smallest_sample`, or no time.
    Tiny,
    ApplicationLimited,
    Failed,
    /// Faster than any link.
    Impossible,
    /// Too many pairs of racks are known already.
    Full,
}

impl Sample {
    pub(crate) fn judge(&self, smallest: u64) -> Result<Rate, Verdict> {
        match self.bound {
            Bound::Application => return Err(Verdict::ApplicationLimited),
            Bound::Failed => return Err(Verdict::Failed),
            Bound::Network => {}
        }
        if self.rated_bytes < smallest {
            return Err(Verdict::Tiny);
        }
        let rate = Rate::of_transfer(self.rated_bytes, self.busy).ok_or(Verdict::Tiny)?;
        if rate >= Rate::from_bits_per_second(f64::MAX) {
            Err(Verdict::Impossible)
        } else {
            Ok(rate)
        }
    }
}
