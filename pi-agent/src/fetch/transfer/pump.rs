//! Moves the bytes of one upstream to containerd.

use tokio::{net::TcpStream, time::Instant};

use super::deliver::Transfer;
use crate::{
    datapath::{
        End, Floor, Patience, Relayed, SourceError, Tally, Tap as _, copy, read_exact, relay,
        write_all,
    },
    fetch::exchange::Upstream,
    peer::Meter,
};

/// Bytes at the end of a hashed object that are held back until the digest is known.
const HELD: u64 = 16 << 10;

/// Counts bytes on both sides of a relay.
struct Passed<'a, F> {
    meter: Meter,
    moved: &'a mut F,
}

impl Transfer {
    /// Passes on what the upstream sends, to before `until`.
    pub(crate) async fn pump(
        &mut self,
        upstream: &mut Upstream,
        client: &TcpStream,
        until: u64,
        moved: &mut (impl FnMut(u64) + Send),
    ) -> Relayed {
        let settings = &self.fetcher.0.settings;
        let patience = Patience(settings.patience);
        let mut floor = Floor::new(settings.floor, Instant::now());
        let mut tally = Passed {
            meter: upstream.link.meter().clone(),
            moved,
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
        if let Some(hasher) = &mut self.hasher {
            hasher.look(&here);
        }
        if let Err(error) = write_all(client, &here, patience).await {
            return Relayed {
                moved: 0,
                end: End::Sink(error),
            };
        }
        tally.went(total);
        let length = free - upstream.next - total;
        let source = &upstream.link.stream;
        tally.meter.will_receive(source, length);
        let relayed = match &mut self.hasher {
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
        let mut end = relayed.end;
        if hold && matches!(end, End::Complete) {
            let judged = self
                .judge(upstream, client, until, &mut floor, &mut tally)
                .await;
            total += judged.moved;
            end = judged.end;
        }
        Relayed { moved: total, end }
    }

    /// Sends the last bytes of a hashed object if they make the digest right.
    async fn judge(
        &mut self,
        upstream: &mut Upstream,
        client: &TcpStream,
        until: u64,
        floor: &mut Floor,
        tally: &mut impl Tally,
    ) -> Relayed {
        let source = |error| Relayed {
            moved: 0,
            end: End::Source(error),
        };
        let held = until - upstream.next;
        let mut bytes = upstream.link.inbox.take(held).to_vec();
        let here = bytes.len();
        tally.came(u64::try_from(here).unwrap_or(u64::MAX));
        bytes.resize(usize::try_from(held).unwrap_or(here), 0);
        let rest = bytes.get_mut(here..).unwrap_or_default();
        let read = read_exact(&upstream.link.stream, rest, floor, |n| tally.came(n)).await;
        if let Err(error) = read {
            return source(error);
        }
        if let Some(mut hasher) = self.hasher.take() {
            hasher.look(&bytes);
            self.progress.wrong = !hasher.matches();
        }
        if self.progress.wrong {
            return source(SourceError::Ended);
        }
        let patience = Patience(self.fetcher.0.settings.patience);
        match write_all(client, &bytes, patience).await {
            Ok(()) => {
                tally.went(held);
                Relayed {
                    moved: held,
                    end: End::Complete,
                }
            }
            Err(error) => Relayed {
                moved: 0,
                end: End::Sink(error),
            },
        }
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
