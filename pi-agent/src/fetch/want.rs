//! An object that is wanted.

use crate::{digest::Digest, http::Kind};

/// An object that is wanted, and the name under which it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    pub(crate) digest: Digest,
    pub(crate) kind: Kind,
    pub(crate) registry: Option<String>,
    pub(crate) repository: String,
    /// Its size in bytes, where that is known.
    pub(crate) size: Option<u64>,
}
