//! The head of a reply, and the bodies of those that carry no object.

use std::fmt::{Display, Write as _};

use super::{CHUNKS, CHUNKS_FIELD, ContentRange, STRIPES_FIELD, Span};
use crate::chunks::labelled_length;

/// A reply's head while it is written.
#[derive(Debug)]
pub(crate) struct Reply(String);

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
        Self(head)
    }

    /// Adds a field.
    pub(crate) fn field(mut self, name: &str, value: impl Display) -> Self {
        let _ = write!(self.0, "{name}: {value}\r\n");
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

    /// Ends the head.
    pub(crate) fn end(mut self, connection: Connection) -> Vec<u8> {
        if connection == Connection::Close {
            self.0.push_str("Connection: close\r\n");
        }
        self.0.push_str("\r\n");
        self.0.into_bytes()
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
