//! Who lives, judged by whether its row changes from one look to the next. Looks are counted, not time,
//! so no two clocks are compared.

use std::{collections::HashMap, net::SocketAddr};

use tracing::warn;

use crate::store::{InstanceRow, Writer};

/// An instance whose row stayed the same during so many looks, one a second, is gone. Who asks it finds
/// out sooner.
const SILENT: u32 = 5;
/// After so many its row is removed.
const OLD: u32 = 60;

/// What was seen of the rows so far.
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
    /// Whether it was seen to write, so that a row from before this instance began is not believed.
    wrote: bool,
    silent: u32,
}

/// What a look tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The others that live, each address once, in order.
    pub(super) live: Vec<InstanceRow>,
    /// Rows that nobody writes any more.
    pub(super) old: Vec<InstanceRow>,
}

impl Looks {
    /// Those of the instance that writes the row `own`, and is reached at `address`.
    pub(super) fn of(own: Writer, address: SocketAddr) -> Self {
        Self {
            own,
            address,
            watched: None,
            has_warned: false,
        }
    }

    /// A look at all rows.
    pub(super) fn look(&mut self, rows: &[InstanceRow]) -> Seen {
        let is_first = self.watched.is_none();
        let before = self.watched.take().unwrap_or_default();
        let mut seen = Seen::default();
        let mut watched = HashMap::new();
        let mut live: Vec<Watched> = Vec::new();
        for row in rows.iter().filter(|row| row.id != self.own) {
            let now = watch(before.get(&row.id.0), *row, is_first);
            watched.insert(row.id.0, now);
            if now.silent >= OLD {
                seen.old.push(*row);
            }
            if now.wrote && now.silent < SILENT {
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

    /// A row with this instance's own address is from before its restart, unless somebody writes it.
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
        // A row from before may be of one that is gone.
        assert_eq!(ids(&looks.look(&[row(1, 1, 1), row(2, 2, 7)]).live), [0; 0]);
        assert_eq!(ids(&looks.look(&[row(1, 1, 1), row(2, 2, 8)]).live), [2]);
        // A new one has just been written; beats may go back, after a failover.
        assert_eq!(ids(&looks.look(&[row(2, 2, 3), row(3, 3, 1)]).live), [2, 3]);
        for look in 1..=OLD {
            let seen = looks.look(&[row(2, 2, 3), row(3, 3, 1 + i64::from(look))]);
            let live: &[i64] = if look < SILENT { &[2, 3] } else { &[3] };
            assert_eq!(ids(&seen.live), live, "{look}");
            let old: &[i64] = if look < OLD { &[] } else { &[2] };
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
