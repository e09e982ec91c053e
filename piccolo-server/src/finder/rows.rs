//! The candidates of a key whose set is not in memory: short scans of the database's index.

use super::{Asker, limit};
use crate::{
    database::Database,
    key_hash::KeyHash,
    packed::{Packed, Stretch},
    store::{Nearest, NodeKey, SpaceId, StoreError},
};

/// How often the search widens if many holders are dead, each time fourfold.
const WIDENINGS: u32 = 3;
/// Rows of each attractive prefix.
const EACH: u32 = 8;

/// What the scans are for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) space: SpaceId,
    pub(super) key: KeyHash,
    pub(super) around: Packed,
    pub(super) asker: Asker,
    pub(super) now: i64,
}

/// The neighbours, beginning with those that were read on either side already, and some holders of
/// each stretch.
pub(super) async fn rows(
    database: &Database,
    wanted: Wanted,
    nearest: Nearest,
    stretches: &[Stretch],
) -> Result<Vec<Packed>, StoreError> {
    let Wanted {
        space,
        key,
        around,
        asker,
        now,
    } = wanted;
    let mut nearest = nearest;
    let read = nearest.below.len().max(nearest.above.len());
    let mut k = u32::try_from(read).unwrap_or(u32::MAX);
    for _ in 0..WIDENINGS {
        if nearest.is_all(k) || living(database, space, &nearest, now) > limit(asker.count) {
            break;
        }
        k = k.saturating_mul(4);
        nearest = database.store().nearest(space, key, around, k).await?;
    }
    let covered = (nearest.below.last().copied(), nearest.above.last().copied());
    let mut rows = nearest.below;
    rows.extend(nearest.above);
    let outside: Vec<Stretch> = stretches
        .iter()
        .filter(|stretch| !covers(covered, stretch))
        .copied()
        .collect();
    if !outside.is_empty() {
        let more = database.store().within(space, key, &outside, EACH).await?;
        rows.extend(more);
        rows.sort_unstable();
        rows.dedup();
    }
    Ok(rows)
}

fn living(database: &Database, space: SpaceId, nearest: &Nearest, now: i64) -> usize {
    let view = database.nodes().view(now);
    let holders = nearest.below.iter().chain(&nearest.above);
    holders
        .filter(|holder| {
            let holder = **holder;
            view.alive(NodeKey { space, holder }).is_some()
        })
        .count()
}

fn covers((lowest, highest): (Option<Packed>, Option<Packed>), stretch: &Stretch) -> bool {
    lowest.is_some_and(|lowest| lowest <= stretch.first)
        && highest.is_some_and(|highest| highest >= stretch.last)
}
