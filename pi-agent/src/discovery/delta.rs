//! A numbered change of the set of keys.

use piccolo_api::Key;

/// Keys to add and keys to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) added: Vec<Key>,
    pub(crate) removed: Vec<Key>,
}

impl Delta {
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// Keys as the wire has them.
pub(crate) fn texts(keys: &[Key]) -> Vec<String> {
    keys.iter().map(|key| key.as_str().to_owned()).collect()
}
