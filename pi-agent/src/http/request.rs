//! The head of a request, as the mirror and the peer listener read it.

use daemon::scope::Scope;
use piccolo_api::Holder;

use super::{
    AGENT_FIELD, Answer, ByteRange, CHUNKS, CHUNKS_FIELD, COMPLETE, Connection, Framing,
    MAX_FIELDS, MIRRORED_FIELD, Persistence, STRIPES_FIELD, Target, has_token, is_framing, number,
    stripes, text,
};

/// A parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The object or the endpoint that it names.
    pub target: Target,
    /// The bytes of it that are requested; `None` for all.
    pub range: Option<ByteRange>,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// Whether a body may come in chunks: HTTP/1.0 knows none.
    pub reads_chunked: bool,
    /// Length of the body that follows the head.
    pub body: u64,
    /// The address of the requesting agent; `None` for other clients.
    pub agent: Option<Holder>,
    /// Whether the request comes from another mirror, and must not be forwarded.
    pub mirrored: bool,
    /// Whether the client checks the chunks of a growing blob.
    pub chunks: bool,
    /// Whether it does so for a complete one as well.
    pub complete: bool,
    /// It wants every so manieth chunk only.
    pub every: u64,
}

/// The methods of pulling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Head and body.
    Get,
    /// The head only.
    Head,
    /// Any other.
    Other,
}

/// Why a head is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not HTTP/1.
    #[error("the head is no HTTP/1 request")]
    Syntax(#[source] httparse::Error),
    /// The end of the body cannot be told, so no further request can be either.
    #[error("the body's length is not given in one way that is understood")]
    Framing,
}

/// What the fields say of where the message ends, and of what follows.
struct Ending {
    length: Option<u64>,
    persistence: Persistence,
}

impl Method {
    /// How much of a reply the client waits for.
    pub(crate) fn answer(self) -> Answer {
        match self {
            Self::Head => Answer::Head,
            Self::Get | Self::Other => Answer::Whole,
        }
    }
}

impl Request {
    /// Whether the connection outlives this request. One with a body does not: nothing here reads
    /// bodies.
    pub(crate) fn connection(&self, scope: &Scope) -> Connection {
        if self.keep_alive && self.body == 0 && !scope.is_draining() {
            Connection::KeepAlive
        } else {
            Connection::Close
        }
    }

    /// How the end of a body is told to containerd, which has to take what an open-ended range is answered
    /// with as one stream.
    pub(crate) fn framing(&self) -> Framing {
        let is_open_ended = self.range.is_some_and(ByteRange::is_open_ended);
        if is_open_ended && self.method == Method::Get && self.reads_chunked {
            Framing::OneChunk
        } else {
            Framing::Length
        }
    }

    /// Reads a head from the beginning of `bytes`: the request and its head's length, or `None`
    /// when the head is not complete.
    ///
    /// # Errors
    /// When more bytes cannot make it a request.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, RequestError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut fields);
        let length = match head.parse(bytes).map_err(RequestError::Syntax)? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => length,
        };
        let mut request = Self {
            method: match head.method {
                Some("GET") => Method::Get,
                Some("HEAD") => Method::Head,
                _ => Method::Other,
            },
            target: Target::parse(head.path.unwrap_or_default()),
            range: None,
            keep_alive: false,
            reads_chunked: head.version == Some(1),
            body: 0,
            agent: None,
            mirrored: false,
            chunks: false,
            complete: false,
            every: 1,
        };
        let mut framing = Ending {
            length: None,
            persistence: Persistence::of(head.version),
        };
        for field in head.headers {
            request.take(field, &mut framing)?;
        }
        request.body = framing.length.unwrap_or(0);
        request.keep_alive = framing.persistence.keep_alive();
        Ok(Some((request, length)))
    }

    fn take(
        &mut self,
        field: &httparse::Header<'_>,
        framing: &mut Ending,
    ) -> Result<(), RequestError> {
        let name = field.name;
        let Some(value) = text(field.value) else {
            return if is_framing(name) {
                Err(RequestError::Framing)
            } else {
                Ok(())
            };
        };
        if name.eq_ignore_ascii_case("range") {
            self.range = ByteRange::parse(value);
        } else if name.eq_ignore_ascii_case("connection") {
            framing.persistence.take(value);
        } else if name.eq_ignore_ascii_case("content-length") {
            let value = number(value).ok_or(RequestError::Framing)?;
            if framing.length.is_some_and(|seen| seen != value) {
                return Err(RequestError::Framing);
            }
            framing.length = Some(value);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            // No request of the pull part has a body that would need it.
            return Err(RequestError::Framing);
        } else if name.eq_ignore_ascii_case(AGENT_FIELD) {
            self.agent = value.parse().ok();
        } else if name.eq_ignore_ascii_case(MIRRORED_FIELD) {
            self.mirrored = value.eq_ignore_ascii_case("true");
        } else if name.eq_ignore_ascii_case(CHUNKS_FIELD) {
            self.chunks = has_token(value, CHUNKS);
            self.complete = has_token(value, COMPLETE);
        } else if name.eq_ignore_ascii_case(STRIPES_FIELD) {
            self.every = stripes(value);
        }
        Ok(())
    }
}
