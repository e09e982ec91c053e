//! Whether a peer's head is an answer to what it was asked.

use super::{Question, error::PeerError};
use crate::{
    chunks::{labelled_length, start_of},
    http::{Response, Span},
};

/// The bytes that a peer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Offset of the first.
    pub(crate) start: u64,
    /// Offset after the last; the object's end where it is not given.
    pub(crate) end: Option<u64>,
}

/// The body that a peer is about to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Body {
    /// Which bytes.
    pub(crate) span: Span,
    /// Size of the whole object.
    pub(crate) total: u64,
}

impl Ask {
    /// The whole object.
    pub(crate) const WHOLE: Self = Self {
        start: 0,
        end: None,
    };
}

/// Accepts a head, or returns what is wrong with it.
pub(crate) fn accept(response: &Response, question: &Question<'_>) -> Result<Body, PeerError> {
    let &Question { want, ask, .. } = question;
    match response.status {
        200 | 206 => {}
        404 if response.withheld => return Err(PeerError::Withheld),
        404 => return Err(PeerError::Missing),
        429 | 503 => return Err(PeerError::Busy(response.alternates.clone())),
        status => return Err(PeerError::Status(status)),
    }
    let contradiction = |what| Err(PeerError::Contradiction(what));
    if response.encoded {
        return contradiction("the body is encoded");
    }
    if let Some(digest) = &response.digest
        && digest != want.digest.as_str()
    {
        return contradiction("another digest");
    }
    let Some(length) = response.length else {
        return contradiction("no Content-Length");
    };
    let body = match (response.status, response.range) {
        (206, Some(range)) => Body {
            span: range.span,
            total: range.total,
        },
        (206, None) => return contradiction("a part without Content-Range"),
        _ => Body {
            span: Span::whole(length),
            total: length,
        },
    };
    let end = ask.end.unwrap_or(body.total).min(body.total);
    // Chunks are sent whole.
    let (start, expected) = if response.chunks {
        let labelled = labelled_length(body.span.start(), body.span.end(), response.every);
        (start_of(ask.start), labelled)
    } else {
        (ask.start, body.span.len())
    };
    if expected != length {
        return contradiction("Content-Length and Content-Range differ");
    }
    // A peer that does not know ranges sends the whole object, which is of use from its start.
    if body.span.start() != start || (response.status == 206 && body.span.end() != end) {
        return contradiction("another range");
    }
    if response.chunks && !question.chunks {
        return contradiction("digests of chunks that were not asked for");
    }
    // Who sends every chunk does not know stripes, or has it all.
    if response.every != 1 && response.every != question.every {
        return contradiction("other stripes");
    }
    if question.chunks && response.growing && !response.chunks {
        return contradiction("what grows comes without the digests of its chunks");
    }
    if want.size.is_some_and(|size| size != body.total) {
        return contradiction("another size");
    }
    Ok(body)
}
