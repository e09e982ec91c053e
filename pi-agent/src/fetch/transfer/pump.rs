//! Moves the bytes of one upstream to containerd.

use daemon::tls::Socket;
use piccolo_api::Holder;

use super::{blame::Senders, ending::Ending, hash::Hasher};
use crate::{
    datapath::{End, Floor, Patience, Tally, Tap as _, copy, read_exact, relay, write_all},
    fetch::exchange::{PeerError, Upstream},
    sockets::Meter,
};

/// Bytes at the end of a hashed object that are held back until the digest is verified.
const HELD: u64 = 16 << 10;

/// Moves bytes to one client.
pub(super) struct Pump<'a, F> {
    pub(super) client: &'a Socket,
    pub(super) patience: Patience,
    /// Hashes an object in flight; `None` once it is verified.
    pub(super) hasher: &'a mut Option<Hasher>,
    /// Size of the whole object, whose end is where it is judged.
    pub(super) total: u64,
    /// Is told of bytes as the client's socket takes them.
    pub(super) moved: F,
}

/// Counts bytes on both sides of a relay.
struct Passed<'a, F> {
    meter: Meter,
    moved: &'a mut F,
}

impl<F: FnMut(u64) + Send> Pump<'_, F> {
    /// Passes on what the upstream sends, to before `until`. Gives how many bytes that was.
    pub(super) async fn run(
        self,
        upstream: &mut Upstream,
        until: u64,
        senders: &Senders,
    ) -> (u64, Ending) {
        let (moved, ending) = self.move_to(upstream, until).await;
        if moved > 0 || matches!(ending, Ending::Wrong) {
            senders.add(upstream.peer());
        }
        (moved, ending)
    }

    async fn move_to(mut self, upstream: &mut Upstream, until: u64) -> (u64, Ending) {
        let peer = upstream.peer();
        let mut floor = upstream.floor();
        let mut tally = Passed {
            meter: upstream.link.meter().clone(),
            moved: &mut self.moved,
        };
        let hold = self.hasher.is_some() && until == self.total;
        let free = if hold {
            until.saturating_sub(HELD).max(upstream.next)
        } else {
            until
        };
        // What was read together with the head comes first.
        let here = upstream.link.inbox.take(free - upstream.next);
        let mut total = u64::try_from(here.len()).unwrap_or(u64::MAX);
        tally.came(total);
        if let Some(hasher) = &mut *self.hasher {
            hasher.look(&here);
        }
        if let Err(error) = write_all(self.client, &here, self.patience).await {
            return (0, Ending::Gone(error));
        }
        tally.went(total);
        let length = free - upstream.next - total;
        let source = &upstream.link.stream;
        if !upstream.growing {
            tally.meter.will_receive(source.tcp(), length);
        }
        let (client, patience) = (self.client, self.patience);
        let relayed = match &mut *self.hasher {
            Some(hasher) => {
                copy(
                    source, client, length, &mut floor, patience, hasher, &mut tally,
                )
                .await
            }
            None => relay(source, client, length, &mut floor, patience, &mut tally).await,
        };
        total += relayed.moved;
        upstream.next += total;
        if !hold || !matches!(relayed.end, End::Complete) {
            return (total, ending(relayed.end, peer));
        }
        let last = Last {
            client,
            patience,
            hasher: self.hasher,
        };
        let (held, ending) = last.judge(upstream, until, &mut floor, &mut tally).await;
        (total + held, ending)
    }
}

/// The end of a hashed object.
struct Last<'a> {
    client: &'a Socket,
    patience: Patience,
    /// Taken once the last byte was read: until then another peer may have to send it.
    hasher: &'a mut Option<Hasher>,
}

impl Last<'_> {
    /// Sends the last bytes of a hashed object if they make the digest right.
    async fn judge(
        self,
        upstream: &mut Upstream,
        until: u64,
        floor: &mut Floor,
        tally: &mut impl Tally,
    ) -> (u64, Ending) {
        let held = until - upstream.next;
        let mut bytes = upstream.link.inbox.take(held).to_vec();
        let here = bytes.len();
        tally.came(u64::try_from(here).unwrap_or(u64::MAX));
        bytes.resize(usize::try_from(held).unwrap_or(here), 0);
        let rest = bytes.get_mut(here..).unwrap_or_default();
        let read = read_exact(&upstream.link.stream, rest, floor, |n| tally.came(n)).await;
        if let Err(error) = read {
            return (0, ending(End::Source(error), upstream.peer()));
        }
        if let Some(mut hasher) = self.hasher.take() {
            hasher.look(&bytes);
            if !hasher.matches() {
                return (0, Ending::Wrong);
            }
        }
        match write_all(self.client, &bytes, self.patience).await {
            Ok(()) => {
                tally.went(held);
                (held, Ending::Complete)
            }
            Err(error) => (0, Ending::Gone(error)),
        }
    }
}

/// How what the peer sent ended.
fn ending(end: End, peer: Holder) -> Ending {
    match end {
        End::Complete => Ending::Complete,
        End::Source(error) => Ending::Failed(peer, PeerError::Body(error)),
        End::Sink(error) => Ending::Gone(error),
    }
}

impl<F: FnMut(u64) + Send> Tally for Passed<'_, F> {
    fn came(&mut self, bytes: u64) {
        self.meter.received_body(bytes);
    }

    fn went(&mut self, bytes: u64) {
        (self.moved)(bytes);
    }
}
