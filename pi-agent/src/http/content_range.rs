//! The `Content-Range` field of a partial response (RFC 9110, section 14.4).

use super::{Span, number};

/// Which bytes of how many a partial response holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes, at least one.
    pub span: Span,
    /// Size of the whole object.
    pub total: u64,
}

impl ContentRange {
    /// Reads `bytes 5-9/20`. `None` for a response without the total, which is needed to tell two
    /// objects apart.
    pub fn parse(value: &str) -> Option<Self> {
        let rest = value.trim().strip_prefix("bytes ")?;
        let (range, total) = rest.split_once('/')?;
        let (first, last) = range.trim().split_once('-')?;
        let (first, last, total) = (number(first)?, number(last)?, number(total.trim())?);
        (first <= last && last < total).then(|| Self {
            span: Span::new(first, last + 1),
            total,
        })
    }
}
