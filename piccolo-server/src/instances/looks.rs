//! The live instances: those whose rows change from one poll to the next. Polls are counted, not time, so
//! no two clocks are compared.

use std::{collections::HashMap, net::SocketAddr};

use tracing::warn;

use crate::store::{InstanceRow, Writer};

/// An instance whose row stays the same for this many consecutive polls, one a second, is gone. A
/// caller of it notices sooner.
const GONE_AFTER_POLLS: u32 = 5;
/// Its row is removed after this many polls.
const REMOVED_AFTER_POLLS: u32 = 60;

/// The rows as of the last polls.
#[derive(Debug)]
pub(super) struct Looks {
    own: Writer,
    address: SocketAddr,
    watched: Option<HashMap<i64, Watched>>,
    has_warned: bool,
}

#[derive(Debug, Clone, Copy)]
struct Watched {
    row: InstanceRow,
    /// Whether its row changed during a poll: a row from before this instance's start proves nothing.
    wrote: bool,
    silent: u32,
}

/// The result of a poll.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The other live instances, each address once, sorted.
    pub(super) live: Vec<InstanceRow>,
    /// Rows that no instance writes any more.
    pub(super) old: Vec<InstanceRow>,
}

impl Looks {
    /// State of the instance that writes the row `own` and has the address `address`.
    pub(super) fn of(own: Writer, address: SocketAddr) -> Self {
        Self {
            own,
            address,
            watched: None,
            has_warned: false,
        }
    }

    /// Polls all rows.
    pub(super) fn look(&mut self, rows: &[InstanceRow]) -> Seen {
        let is_first = self.watched.is_none();
        let before = self.watched.take().unwrap_or_default();
        let mut seen = Seen::default();
        let mut watched = HashMap::new();
        let mut live: Vec<Watched> = Vec::new();
        for row in rows.iter().filter(|row| row.id != self.own) {
            let now = watch(before.get(&row.id.0), *row, is_first);
            watched.insert(row.id.0, now);
            if now.silent >= REMOVED_AFTER_POLLS {
                seen.old.push(*row);
            }
            if now.wrote && now.silent < GONE_AFTER_POLLS {
                live.push(now);
            }
        }
        self.watched = Some(watched);
        self.warn_of_twins(&live);
        live.retain(|other| other.row.address != self.address);
        live.sort_by_key(|one| (one.row.address, one.silent, one.row.beat));
        live.dedup_by_key(|one| one.row.address);
        seen.live = live.iter().map(|one| one.row).collect();
        seen
    }

    /// A row with this instance's own address is from before its restart, unless it still changes.
    fn warn_of_twins(&mut self, live: &[Watched]) {
        let is_twin = |other: &&Watched| other.row.address == self.address && other.silent == 0;
        let is_there = live.iter().any(|other| is_twin(&other));
        if is_there && !self.has_warned {
            warn!(
                address = %self.address,
                "another instance says that it is reached at this one's address (--instance-address): \
                 give each its own"
            );
        }
        self.has_warned = is_there;
    }
}

fn watch(before: Option<&Watched>, row: InstanceRow, is_first: bool) -> Watched {
    match before {
        Some(before) if before.row.beat == row.beat => Watched {
            silent: before.silent.saturating_add(1),
            ..*before
        },
        Some(_) => Watched {
            row,
            wrote: true,
            silent: 0,
        },
        None => Watched {
            row,
            wrote: !is_first,
            silent: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, host: u8, beat: i64) -> InstanceRow {
        InstanceRow {
            id: Writer(id),
            address: ([10, 0, 0, host], 7789).into(),
            secret: id,
            beat,
        }
    }

    fn ids(rows: &[InstanceRow]) -> Vec<i64> {
        rows.iter().map(|row| row.id.0).collect()
    }

    #[test]
    fn who_writes_lives_and_who_does_not_goes() {
        let mut looks = Looks::of(Writer(1), ([10, 0, 0, 1], 7789).into());
        // An older row may be of an instance that has ended.
        assert_eq!(ids(&looks.look(&[row(1, 1, 1), row(2, 2, 7)]).live), [0; 0]);
        assert_eq!(ids(&looks.look(&[row(1, 1, 1), row(2, 2, 8)]).live), [2]);
        // A new one has just been written; beats may go back, after a failover.
        assert_eq!(ids(&looks.look(&[row(2, 2, 3), row(3, 3, 1)]).live), [2, 3]);
        for look in 1..=REMOVED_AFTER_POLLS {
            let seen = looks.look(&[row(2, 2, 3), row(3, 3, 1 + i64::from(look))]);
            let live: &[i64] = if look < GONE_AFTER_POLLS {
                &[2, 3]
            } else {
                &[3]
            };
            assert_eq!(ids(&seen.live), live, "{look}");
            let old: &[i64] = if look < REMOVED_AFTER_POLLS {
                &[]
            } else {
                &[2]
            };
            assert_eq!(ids(&seen.old), old, "{look}");
        }
    }

    #[test]
    fn the_row_of_an_earlier_run_at_the_same_address_counts_for_nothing() {
        let mut looks = Looks::of(Writer(1), ([10, 0, 0, 1], 7789).into());
        looks.look(&[]);
        // One of this instance's own earlier runs, and two of another instance's.
        looks.look(&[row(4, 1, 9), row(2, 2, 50)]);
        let seen = looks.look(&[row(4, 1, 9), row(2, 2, 50), row(3, 2, 1)]);
        assert_eq!(ids(&seen.live), [3]);
    }
}
