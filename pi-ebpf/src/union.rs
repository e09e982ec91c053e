//! The union of the busy intervals of all of a peer's connections.
//!
//! Intervals arrive in the order of their ends, each when it ends. The union is kept as its end and
//! the last gap before it: a connection that was waiting while another overtook it reports an
//! interval that reaches back into what had to be taken for idle, and that part is put back.

use crate::{counters::Traffic, word::Word};

impl<W: Word> Traffic<W> {
    /// Adds `[from_ns, now_ns]` to the union and gives the time by which the union grows.
    ///
    /// The result is never more than the interval's own length. Two CPUs that meet here for one peer
    /// err by the time between their readings of the clock.
    #[expect(
        clippy::inline_always,
        reason = "a call that passes pointers costs the verifier's trust"
    )]
    #[inline(always)]
    pub(crate) fn cover(&self, from_ns: u64, now_ns: u64) -> u64 {
        let last_ns = self.last_ns.get();
        let fresh_ns = now_ns.saturating_sub(last_ns);
        if fresh_ns != 0 {
            self.last_ns.set(now_ns);
        }
        if from_ns > last_ns {
            self.gap_from_ns.set(last_ns);
            self.gap_to_ns.set(from_ns);
            return now_ns.saturating_sub(from_ns);
        }
        fresh_ns.saturating_add(self.put_back(from_ns, now_ns))
    }

    #[expect(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    fn put_back(&self, from_ns: u64, now_ns: u64) -> u64 {
        let gap_to_ns = self.gap_to_ns.get();
        if from_ns >= gap_to_ns {
            return 0;
        }
        let gap_from_ns = self.gap_from_ns.get();
        let low = if from_ns > gap_from_ns {
            from_ns
        } else {
            gap_from_ns
        };
        let high = if now_ns < gap_to_ns {
            now_ns
        } else {
            gap_to_ns
        };
        if high <= low {
            return 0;
        }
        self.gap_to_ns.set(low);
        high - low
    }
}

#[cfg(test)]
mod tests;
