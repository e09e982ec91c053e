//! HTTP/1.1 heads: requests parsed for the listeners, responses parsed for the fetcher.
//!
//! Parsing is pure and bounded; bodies never pass through here, [`datapath`](crate::datapath)
//! moves them.

mod content_range;
mod escape;
mod inbox;
mod range;
mod reply;
mod request;
mod response;
mod target;

pub use self::{
    content_range::ContentRange,
    range::{ByteRange, Span, Unsatisfiable},
    request::{Method, Request, RequestError},
    response::{Response, ResponseError},
    target::{Kind, ObjectRef, RackCall, RackKind, Reference, Target},
};
pub(crate) use self::{
    escape::encode_query,
    inbox::{HeadError, Inbox},
    reply::{Answer, Connection, Framing, LAST_CHUNK, Reply},
};

/// Longest head in bytes that is read, from containerd or from a peer.
pub(crate) const MAX_HEAD: usize = 16 << 10;
/// Most header fields of a head.
const MAX_FIELDS: usize = 64;

/// The path at which a node of the rack is asked from whom to fetch, while no server answers.
pub(crate) const RACK_FIND: &str = "/piccolo/v1/rack/find";
/// The path at which it is told how far another one is.
pub(crate) const RACK_PROGRESS: &str = "/piccolo/v1/rack/progress";

/// The request field by which an agent names the address where it serves its peers.
pub(crate) const AGENT_FIELD: &str = "Piccolo-Agent";
/// The reply field by which a busy agent names others that have the same object.
pub(crate) const ALTERNATES_FIELD: &str = "Piccolo-Alternates";
/// The reply field by which an agent says that it is still getting the object itself.
pub(crate) const STATE_FIELD: &str = "Piccolo-State";
/// Its value for such an object.
pub(crate) const GROWING: &str = "growing";
/// Its value in a 404 of an agent that has the object under another name, or as another kind.
pub(crate) const WITHHELD: &str = "withheld";
/// The reply field that says how many bytes of a growing object are there.
pub(crate) const REACHED_FIELD: &str = "Piccolo-Reached";
/// The reply field that says how many milliseconds ago the last of them came.
pub(crate) const SILENT_FIELD: &str = "Piccolo-Silent-Ms";
/// The request field by which an agent says that it checks chunks of what grows, and the reply field
/// by which the other one says that their digests stand before them in the body.
pub(crate) const CHUNKS_FIELD: &str = "Piccolo-Chunks";
/// Its value: the hash, and the size of a chunk.
pub(crate) const CHUNKS: &str = "blake3-1048576";
/// The token beside it by which an agent wants them also of who has all of an object: they cost a copy.
pub(crate) const COMPLETE: &str = "complete";
/// The request field by which an agent says that it wants every so manieth chunk only, as it takes the
/// others from other agents, and the reply field by which the other one says that it sends those.
pub(crate) const STRIPES_FIELD: &str = "Piccolo-Stripes";
/// The most stripes of one object.
pub(crate) const MOST_STRIPES: u64 = 64;
/// The reply field that names the node whose word the digests are, where it is not the one that replies.
pub(crate) const MAKER_FIELD: &str = "Piccolo-Maker";
/// Set by Go agents on requests to their peers.
pub(crate) const MIRRORED_FIELD: &str = "X-Spegel-Mirrored";

/// A field's value as text, without the white space that HTTP allows around it; `None` if it is not
/// UTF-8. Other white space belongs to the value.
fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().map(trim)
}

/// Without blanks and tabs at either end.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Whether another message may follow on the connection: by the version, and by the `Connection` fields.
/// Once one of these closes it, no other keeps it open.
#[derive(Debug, Clone, Copy)]
struct Persistence {
    keeps: bool,
    closes: bool,
}

impl Persistence {
    /// As the minor version of HTTP/1 has it.
    fn of(version: Option<u8>) -> Self {
        Self {
            keeps: version == Some(1),
            closes: false,
        }
    }

    /// Takes the value of a `Connection` field.
    fn take(&mut self, value: &str) {
        self.closes |= has_token(value, "close");
        self.keeps |= has_token(value, "keep-alive");
    }

    fn keep_alive(self) -> bool {
        self.keeps && !self.closes
    }
}

/// Whether a field decides where a message ends. One that is not understood makes the message
/// invalid.
fn is_framing(name: &str) -> bool {
    ["content-length", "transfer-encoding"]
        .iter()
        .any(|framing| name.eq_ignore_ascii_case(framing))
}

/// Of how many stripes a body is one; 1 where the field says nothing that makes sense.
fn stripes(value: &str) -> u64 {
    let stripes = number(value).filter(|stripes| (1..=MOST_STRIPES).contains(stripes));
    stripes.unwrap_or(1)
}

/// A decimal number of nothing but digits, as `Content-Length` and ranges are written.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Whether a comma-separated field has `token` in it.
fn has_token(value: &str, token: &str) -> bool {
    value
        .split(',')
        .any(|t| trim(t).eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests;
