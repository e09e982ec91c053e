//! Bursts: the stretches of one direction of one connection during which it was asked to deliver.
//!
//! A burst begins with the request (the last new data of the other direction) and lasts to the last
//! byte of the answer. Stalls inside it count; the silence between the last byte and the next
//! request does not. A plain "gaps below 200 ms are busy" misjudges pauses between small pieces and
//! pings on idle connections by half and more.

use crate::{
    counters::Traffic, fin::Fin, policy::Policy, progress::Progress, promise::Promise, word::Word,
};

/// One direction of one connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// How far it has been accounted for, as the kernel counts.
    seen: u64,
    /// The FIN that ends it.
    pub fin: Fin,
    /// When it last made progress.
    pub(crate) last_ns: u64,
    /// When the burst it is in began.
    pub(crate) burst_from_ns: u64,
    /// The bytes of that burst.
    pub(crate) burst_bytes: u64,
    /// A small step that ends before this may be deferred.
    pub(crate) waits_until: u64,
    /// Tick of the last step that was accounted for.
    looked_at: u64,
}

/// What a step of a burst adds to the peer's rate: `bytes` that took from `from_ns` until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    from_ns: u64,
    bytes: u64,
}

impl Flow {
    #[inline]
    pub(crate) fn start(&mut self, counted: u64, now_ns: u64) {
        self.seen = counted;
        self.last_ns = now_ns;
        self.burst_from_ns = now_ns;
    }

    #[inline]
    pub(crate) fn ahead(&self, counted: u64) -> u64 {
        counted.saturating_sub(self.seen)
    }

    /// Whether the step of `ahead` bytes is small, and another one is sure to follow.
    #[inline]
    pub(crate) fn waits(&self, ahead: u64, socket: &impl Progress) -> bool {
        ahead < Promise::STEP
            && self.seen.saturating_add(ahead) < self.waits_until
            && socket.ticks().saturating_sub(self.looked_at) <= Promise::TICKS
    }

    #[inline]
    pub(crate) fn look_ahead(&mut self, promised: u64, ticks: u64) {
        self.looked_at = ticks;
        self.waits_until = if self.burst_bytes >= Promise::STEP {
            promised.saturating_sub(Promise::STEP)
        } else {
            0
        };
    }

    /// Nothing follows a FIN: it is in the last step only, if it is in any.
    #[inline]
    pub(crate) fn advance(&mut self, counted: u64, at: impl FnOnce() -> u32) -> u64 {
        let ahead = self.ahead(counted);
        if ahead == 0 {
            return 0;
        }
        self.seen = counted;
        ahead.saturating_sub(self.fin.taken(at()))
    }

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
        // A tail's time is estimated, and may lie before what was asked since. An interval that began after
        // its end would leave a gap beyond the union's end, which is then filled twice.
        let from_ns = if from_ns < now_ns { from_ns } else { now_ns };
        self.last_ns = now_ns;
        if now_ns.saturating_sub(from_ns) > policy.stall_ns {
            // It is unknown when within that time these bytes passed: they tell no rate.
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
