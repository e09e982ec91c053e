//! The head of a reply, and the bodies of those that carry no object.

use std::fmt::{Display, Write as _};

use super::{CHUNKS, CHUNKS_FIELD, ContentRange, STRIPES_FIELD, Span};
use crate::chunks::labelled_length;

/// What ends a body in one chunk.
pub(crate) const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// A reply's head while it is written.
#[derive(Debug)]
pub(crate) struct Reply {
    head: String,
    /// Length of the only chunk that the body comes in.
    chunk: Option<u64>,
}

/// How a client is told where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By its length.
    Length,
    /// By the end of its only chunk, which [`LAST_CHUNK`] is.
    OneChunk,
}

/// Whether another request may follow a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// It may.
    KeepAlive,
    /// The connection ends with the reply.
    Close,
}

/// How much of a reply is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Head and body.
    Whole,
    /// The head only: the reply to a HEAD.
    Head,
}

impl Reply {
    /// Begins a head with its status line.
    pub(crate) fn new(status: u16) -> Self {
        let mut head = String::with_capacity(384);
        let reason = reason(status);
        // Writing to a String cannot fail, here and below.
        let _ = write!(head, "HTTP/1.1 {status} {reason}\r\n");
        Self { head, chunk: None }
    }

    /// Adds a field.
    pub(crate) fn field(mut self, name: &str, value: impl Display) -> Self {
        let _ = write!(self.head, "{name}: {value}\r\n");
        self
    }

    /// Begins the head of an object's reply: 200 for all of its `total` bytes, 206 for a part.
    pub(crate) fn object(span: Span, total: u64, partial: bool) -> Self {
        let reply = if partial {
            Self::part(span, total)
        } else {
            Self::new(200).field("Accept-Ranges", "bytes")
        };
        reply.field("Content-Length", span.len())
    }

    /// Begins the head of a reply to an open-ended range, which has a byte: 200 for all of an object's
    /// `total` bytes, 206 for a part.
    ///
    /// Its length is not given. containerd 2.1 and later divides what it knows the length of into ranges
    /// of its own, asks for all of them here, and fails the pull if one is not given any more. What
    /// comes as one stream it goes on with at the next host where it breaks off. The first versions that
    /// do so divide a 200 with a length as well.
    pub(crate) fn stream(span: Span, total: u64) -> Self {
        let reply = if span.start() == 0 {
            Self::new(200).field("Accept-Ranges", "bytes")
        } else {
            Self::part(span, total)
        };
        let mut reply = reply.field("Transfer-Encoding", "chunked");
        reply.chunk = Some(span.len());
        reply
    }

    /// Begins the head of an object's part whose bytes, those of every so manieth chunk, come with the
    /// digests of their chunks.
    pub(crate) fn labelled(span: Span, total: u64, every: u64) -> Self {
        let length = labelled_length(span.start(), span.end(), every);
        let reply = Self::part(span, total)
            .field("Content-Length", length)
            .field(CHUNKS_FIELD, CHUNKS);
        if every > 1 {
            reply.field(STRIPES_FIELD, every)
        } else {
            reply
        }
    }

    fn part(span: Span, total: u64) -> Self {
        let range = ContentRange { span, total };
        Self::new(206)
            .field("Content-Range", range)
            .field("Accept-Ranges", "bytes")
    }

    /// Ends the head, and begins the chunk that the body comes in, if it comes in one.
    pub(crate) fn end(mut self, connection: Connection) -> Vec<u8> {
        if connection == Connection::Close {
            self.head.push_str("Connection: close\r\n");
        }
        self.head.push_str("\r\n");
        if let Some(length) = self.chunk {
            let _ = write!(self.head, "{length:x}\r\n");
        }
        self.head.into_bytes()
    }

    /// Head and body of a reply in JSON.
    pub(crate) fn json(self, json: &str, answer: Answer, connection: Connection) -> Vec<u8> {
        let mut bytes = self
            .field("Content-Type", "application/json")
            .field("Content-Length", json.len())
            .end(connection);
        if answer == Answer::Whole {
            bytes.extend_from_slice(json.as_bytes());
        }
        bytes
    }

    /// Head and body of an error in the form of the distribution specification.
    pub(crate) fn error(
        self,
        code: &str,
        message: &str,
        answer: Answer,
        connection: Connection,
    ) -> Vec<u8> {
        let json = serde_json::json!({"errors": [{"code": code, "message": message}]}).to_string();
        self.json(&json, answer, connection)
    }
}

impl Display for ContentRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = self.span.end().saturating_sub(1);
        write!(f, "bytes {}-{last}/{}", self.span.start(), self.total)
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        503 => "Service Unavailable",
        _ => "",
    }
}
