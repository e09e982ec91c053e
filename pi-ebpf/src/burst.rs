//! Bursts: the stretches of one direction of one connection during which it was asked to deliver.
//!
//! A burst begins with the request, that is the last new data of the other direction, and lasts to
//! the last byte of the answer. Stalls inside it count; the silence between the last byte and the
//! next request does not. A plain "gaps below 200 ms are busy" misjudges pauses between small pieces
//! and pings on idle connections by half and more.

use crate::{connection::Flow, counters::Traffic, word::Word};

/// Where idle begins and what is large enough to tell a rate by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A silence up to this long between the last byte and the next request counts as busy.
    pub think_ns: u64,
    /// A silence while an answer is outstanding counts as busy up to this long.
    pub stall_ns: u64,
    /// Bursts with fewer bytes, such as requests and pings, give no rate.
    pub min_burst: u64,
}

impl Policy {
    /// The policy the program is built with.
    pub const DEFAULT: Self = Self {
        think_ns: 2_000_000,
        stall_ns: 5_000_000_000,
        min_burst: 65_536,
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a step of a burst adds to the peer's rate: `bytes` that took from `from_ns` until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    from_ns: u64,
    bytes: u64,
}

impl Flow {
    /// `bytes` more got through at `now_ns`; the other direction last carried new data at `asked_ns`.
    #[expect(
        clippy::inline_always,
        reason = "a call that passes pointers costs the verifier's trust"
    )]
    #[inline(always)]
    pub(crate) fn deliver<W: Word>(
        &mut self,
        traffic: &Traffic<W>,
        policy: &Policy,
        asked_ns: u64,
        now_ns: u64,
        bytes: u64,
    ) {
        traffic.bytes.add(bytes);
        let Some(step) = self.step(traffic, policy, asked_ns, now_ns, bytes) else {
            return;
        };
        traffic.rated_bytes.add(step.bytes);
        traffic.busy_ns.add(traffic.cover(step.from_ns, now_ns));
    }

    #[expect(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    fn step<W: Word>(
        &mut self,
        traffic: &Traffic<W>,
        policy: &Policy,
        asked_ns: u64,
        now_ns: u64,
        bytes: u64,
    ) -> Option<Step> {
        let idle = asked_ns > self.last_ns.saturating_add(policy.think_ns);
        let from_ns = if idle { asked_ns } else { self.last_ns };
        self.last_ns = now_ns;
        if now_ns.saturating_sub(from_ns) > policy.stall_ns {
            // Nobody knows in which part of that time these bytes passed: they tell no rate.
            self.burst_from_ns = now_ns;
            self.burst_bytes = 0;
            return None;
        }
        let before = if idle { 0 } else { self.burst_bytes };
        if idle {
            self.burst_from_ns = from_ns;
        }
        let after = before.saturating_add(bytes);
        self.burst_bytes = after;
        if after < policy.min_burst {
            return None;
        }
        if before < policy.min_burst {
            // Only now is it a burst: what it had before counts with this step.
            traffic.bursts.add(1);
            return Some(Step {
                from_ns: self.burst_from_ns,
                bytes: after,
            });
        }
        Some(Step { from_ns, bytes })
    }
}
