//! The keys of a large set that do not fit into one sync.

use piccolo_api::Key;

/// Most keys of one sync; the server accepts 20,000.
const KEYS: usize = 20_000;
/// Most bytes of the keys of one sync; the server accepts bodies of 4 MiB.
const BYTES: usize = 3 << 20;
/// Bytes that a body has for each key beside its own, unless the key has to be escaped.
const QUOTES: usize = 3;

/// Keys that are not sent yet, sorted.
#[derive(Debug, Default)]
pub(super) struct Untold {
    keys: Vec<Key>,
    told: usize,
}

impl Untold {
    /// Whether all of them fit into one sync.
    pub(super) fn fit(keys: &[Key]) -> bool {
        keys.len() <= KEYS && keys.iter().map(length).sum::<usize>() <= BYTES
    }

    /// Leaves in `keys` those that fit into one sync. It is the same part of a set each time, so that
    /// a repeated sync changes little on the server.
    pub(super) fn split_off(keys: &mut Vec<Key>) -> Self {
        keys.sort_unstable();
        let mut room = BYTES;
        let fits = |key: &&Key| {
            let left = room.checked_sub(length(key));
            room = left.unwrap_or(0);
            left.is_some()
        };
        let first = keys.iter().take(KEYS).take_while(fits).count();
        Self {
            keys: keys.split_off(first),
            told: 0,
        }
    }

    /// The next keys, `most` of them.
    pub(super) fn page(&self, most: usize) -> &[Key] {
        let left = self.keys.get(self.told..).unwrap_or_default();
        left.get(..most).unwrap_or(left)
    }

    /// The server has accepted the next `count` keys.
    pub(super) fn told(&mut self, count: usize) {
        self.told = self.told.saturating_add(count);
        if self.is_empty() {
            *self = Self::default();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len().saturating_sub(self.told)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn length(key: &Key) -> usize {
    key.as_str().len() + QUOTES
}
