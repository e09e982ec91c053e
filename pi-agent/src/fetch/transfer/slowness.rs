//! Whether this node takes an object much more slowly than its source gets it, so that nobody is to wait
//! for it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use piccolo_api::Holder;
use tokio::time::{Instant, sleep_until};

use super::open::Opener;
use crate::{
    content::Growing,
    fetch::{peers::Member, want::Want},
};

/// Between two looks at the source. Two streams over one link can share it unevenly for a second or two.
const LOOK: Duration = Duration::from_secs(2);
/// Consecutive looks that have to find this node slow.
const LOOKS: u32 = 2;
/// Who is fewer bytes behind is not slow, however its last second was: these may be in sockets and in
/// chunks that are being checked.
const BEHIND: u64 = 4 << 20;
/// A source that feeds two, and one more that has moved to the end of its chain, gives each a third of what it
/// gets, as far as its link goes. Less than this part, a fifth, comes where the cause is here.
const PART: (u64, u64) = (1, 5);

/// What was seen of a source that is still getting the object, and of this node.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Duration,
    source: u64,
    own: u64,
}

/// The comparison of this node with its source.
#[derive(Debug, Default)]
pub(super) struct Slowness {
    last: Option<Seen>,
    /// Bytes that the source got in a second, up to its last one.
    rate: u64,
    slow: u32,
}

impl Slowness {
    /// Looks at the source again and again, and says once that this node is slow beside it. Never ends: it is
    /// dropped with the transfer.
    pub(super) async fn watch(
        source: Option<Holder>,
        (growing, member): (Option<&Growing>, Option<Arc<Member>>),
        (opener, want): (&Opener, &Want),
    ) -> Infallible {
        if let (Some(peer), Some(growing), Some(member)) = (source, growing, member) {
            let mut slowness = Self::default();
            let begin = Instant::now();
            let mut next = begin;
            loop {
                next += LOOK;
                sleep_until(next).await;
                // Who is silent is compared at the next look.
                let Some(source) = opener.reached_within(want, peer, LOOK).await else {
                    continue;
                };
                let seen = Seen {
                    at: begin.elapsed(),
                    source,
                    own: growing.reached().bytes,
                };
                if slowness.look(seen, growing.total()) {
                    member.slows();
                    break;
                }
            }
        }
        std::future::pending().await
    }

    /// Whether it is slow by now. What the source gets of an object of `total` bytes it can send, and when it has
    /// all of it, too.
    fn look(&mut self, now: Seen, total: u64) -> bool {
        let Some(last) = self.last.replace(now) else {
            return false;
        };
        let millis = now.at.saturating_sub(last.at).as_millis().max(1);
        let in_a_second = |now: u64, last: u64| {
            let moved = u128::from(now.saturating_sub(last));
            u64::try_from(moved * 1000 / millis).unwrap_or(u64::MAX)
        };
        let got = in_a_second(now.source, last.source);
        if now.source < total {
            self.rate = got;
        }
        let took = in_a_second(now.own, last.own);
        let is_behind = now.source.saturating_sub(now.own) >= BEHIND;
        let is_slow = is_behind && took.saturating_mul(PART.1) < self.rate.saturating_mul(PART.0);
        self.slow = if is_slow { self.slow + 1 } else { 0 };
        self.slow >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many looks a node is slow of which these MiB were seen, of the source and of itself.
    fn slow_after(seen: impl IntoIterator<Item = (u64, u64)>, total: u64) -> Option<u64> {
        let mut slowness = Slowness::default();
        let mut looks = (1..).zip(seen);
        let slow = looks.find(|(look, (source, own))| {
            let seen = Seen {
                at: LOOK * *look,
                source: *source << 20,
                own: *own << 20,
            };
            slowness.look(seen, total << 20)
        });
        slow.map(|(look, _)| look.into())
    }

    #[test]
    fn slow_is_who_falls_far_behind_a_source_that_goes_on() {
        let rates = |source: u64, own: u64| (1..20).map(move |n| (n * source, n * own));
        assert_eq!(slow_after(rates(10, 1), 500), Some(3));
        assert_eq!(slow_after(rates(10, 0), 500), Some(3));
        // Half of what the source gets, as beside another one, and a third.
        assert_eq!(slow_after(rates(10, 5), 500), None);
        assert_eq!(slow_after(rates(10, 3), 500), None);
        assert_eq!(slow_after(rates(10, 10), 500), None);
        // A source that is as slow.
        assert_eq!(slow_after(rates(1, 1), 500), None);
        assert_eq!(slow_after(rates(0, 0), 500), None);
        // Once behind, and as quick as the source since.
        let once = [(10, 1), (20, 2), (30, 11), (40, 12), (50, 22), (60, 32)];
        assert_eq!(slow_after(once, 500), None);
    }

    #[test]
    fn a_source_that_has_it_all_sends_as_quickly_as_it_got_it() {
        let rest = |own: u64| (1..9).map(move |n| (50, 3 + n * own));
        let begin = || [(20, 2), (30, 3)];
        assert_eq!(slow_after(begin().into_iter().chain(rest(1)), 50), Some(3));
        assert_eq!(slow_after([(40, 2)].into_iter().chain(rest(5)), 50), None);
        // Nothing is known of one that had it all before.
        assert_eq!(slow_after(rest(1), 50), None);
    }
}
