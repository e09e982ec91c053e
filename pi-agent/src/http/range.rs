//! The single byte range of a request (RFC 9110, section 14.1.2).

use super::number;

/// A range as it is asked for, before the object's size is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=5-`: from an offset to the end.
    From(u64),
    /// `bytes=5-9`: from an offset to another, both included.
    Between(u64, u64),
    /// `bytes=-5`: the last bytes.
    Last(u64),
}

/// Offsets of an object's bytes: the first, and the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u64,
    end: u64,
}

/// The object has no byte in the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the range begins after the end of the object")]
pub struct Unsatisfiable;

impl ByteRange {
    /// Reads a `Range` field: the first of several ranges, as nobody who pulls asks for more, and all of
    /// an object would be drawn from a peer for a few bytes. `None` for another unit, which is ignored,
    /// as the RFC says.
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, ranges) = value.trim().split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let first = ranges.split(',').map(str::trim).find(|r| !r.is_empty())?;
        let (first, last) = first.split_once('-')?;
        match (first.trim(), last.trim()) {
            ("", last) => number(last).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// The bytes that this is of an object of `size` bytes.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn resolve(self, size: u64) -> Result<Span, Unsatisfiable> {
        let (start, end) = match self {
            Self::From(first) => (first, size),
            Self::Between(first, last) => (first, last.saturating_add(1).min(size)),
            Self::Last(count) => (size.saturating_sub(count), size),
        };
        if start < end {
            Ok(Span { start, end })
        } else {
            Err(Unsatisfiable)
        }
    }

    /// Whether the range goes on to the object's end, however long that is.
    pub fn is_open_ended(self) -> bool {
        matches!(self, Self::From(_))
    }
}

impl Span {
    /// From `start` to before `end`; empty when `end` is not after `start`.
    pub fn new(start: u64, end: u64) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    /// All of an object of `size` bytes.
    pub fn whole(size: u64) -> Self {
        Self::new(0, size)
    }

    /// Offset of the first byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// Offset after the last byte.
    pub fn end(self) -> u64 {
        self.end
    }

    /// Number of bytes.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether there is no byte in it.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// What is left of it from `offset` on.
    #[must_use]
    pub fn from(self, offset: u64) -> Self {
        Self::new(offset.clamp(self.start, self.end), self.end)
    }

    /// The same bytes of a slice that holds the whole object.
    pub fn of(self, bytes: &[u8]) -> Option<&[u8]> {
        bytes.get(usize::try_from(self.start).ok()?..usize::try_from(self.end).ok()?)
    }
}
