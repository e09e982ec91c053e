//! The head of a response, as the fetcher reads it from a peer.

use piccolo_api::Holder;

use super::{
    ALTERNATES_FIELD, CHUNKS, CHUNKS_FIELD, ContentRange, GROWING, MAKER_FIELD, MAX_FIELDS,
    Persistence, REACHED_FIELD, STATE_FIELD, STRIPES_FIELD, WITHHELD, has_token, is_framing,
    number, stripes, text,
};

/// Most alternates that are used of one response.
const MAX_ALTERNATES: usize = 8;

/// A parsed response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Length of the body, where it is given.
    pub length: Option<u64>,
    /// Which part of the object the body is.
    pub range: Option<ContentRange>,
    /// Media type of the object.
    pub media_type: Option<String>,
    /// The object's digest according to the peer.
    pub digest: Option<String>,
    /// Whether the body is anything but the object's bytes as they are.
    pub encoded: bool,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// Whether the peer is still getting the object itself.
    pub growing: bool,
    /// Whether the peer has the object, and does not give it under that name, or as that kind.
    pub withheld: bool,
    /// Bytes of a growing object that the peer has.
    pub reached: Option<u64>,
    /// Whether the digest of each chunk stands before its bytes.
    pub chunks: bool,
    /// The body has every so manieth chunk only.
    pub every: u64,
    /// The maker of the chunk list, if it is another node than the peer.
    pub maker: Option<Holder>,
    /// Other agents that have the object, named by one that is busy.
    pub alternates: Vec<Holder>,
}

/// Why a head is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not HTTP/1.
    #[error("the head is no HTTP/1 response")]
    Syntax(#[source] httparse::Error),
    /// Two lengths, or one that is no number.
    #[error("the body's length is not given in one way that is understood")]
    Framing,
    /// A `Content-Range` that is not understood.
    #[error("the Content-Range is not understood")]
    Range,
}

impl Response {
    /// Reads a head from the beginning of `bytes`: the response and its head's length, or `None`
    /// when the head is not complete.
    ///
    /// # Errors
    /// When more bytes cannot make it a response.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ResponseError> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(bytes).map_err(ResponseError::Syntax)? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => length,
        };
        let mut response = Self {
            status: head.code.unwrap_or_default(),
            length: None,
            range: None,
            media_type: None,
            digest: None,
            encoded: false,
            keep_alive: false,
            growing: false,
            withheld: false,
            reached: None,
            chunks: false,
            every: 1,
            maker: None,
            alternates: Vec::new(),
        };
        let mut persistence = Persistence::of(head.version);
        for field in head.headers {
            response.take(field, &mut persistence)?;
        }
        response.keep_alive = persistence.keep_alive();
        Ok(Some((response, length)))
    }

    /// Whether the body to a GET ends where the length says. One in chunks does not; a preliminary reply is
    /// followed by another, and two of the others have no body, whatever length they state.
    pub(crate) fn ends_by_length(&self) -> bool {
        self.status >= 200 && !matches!(self.status, 204 | 304) && !self.encoded
    }

    fn take(
        &mut self,
        field: &httparse::Header<'_>,
        persistence: &mut Persistence,
    ) -> Result<(), ResponseError> {
        let name = field.name;
        let Some(value) = text(field.value) else {
            return if is_framing(name) {
                Err(ResponseError::Framing)
            } else {
                Ok(())
            };
        };
        if self.take_own(name, value) {
            return Ok(());
        }
        if name.eq_ignore_ascii_case("content-length") {
            let value = number(value).ok_or(ResponseError::Framing)?;
            if self.length.is_some_and(|seen| seen != value) {
                return Err(ResponseError::Framing);
            }
            self.length = Some(value);
        } else if name.eq_ignore_ascii_case("content-range") {
            self.range = Some(ContentRange::parse(value).ok_or(ResponseError::Range)?);
        } else if name.eq_ignore_ascii_case("content-type") {
            self.media_type = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("docker-content-digest") {
            self.digest = Some(value.to_owned());
        } else if name.eq_ignore_ascii_case("connection") {
            persistence.take(value);
        } else if name.eq_ignore_ascii_case("transfer-encoding")
            || name.eq_ignore_ascii_case("content-encoding")
        {
            self.encoded |= !value.eq_ignore_ascii_case("identity");
        }
        Ok(())
    }

    /// Parses a field that only agents send; returns whether it is one.
    fn take_own(&mut self, name: &str, value: &str) -> bool {
        if name.eq_ignore_ascii_case(STATE_FIELD) {
            self.growing = value.eq_ignore_ascii_case(GROWING);
            self.withheld = value.eq_ignore_ascii_case(WITHHELD);
        } else if name.eq_ignore_ascii_case(REACHED_FIELD) {
            self.reached = number(value);
        } else if name.eq_ignore_ascii_case(CHUNKS_FIELD) {
            self.chunks = has_token(value, CHUNKS);
        } else if name.eq_ignore_ascii_case(STRIPES_FIELD) {
            self.every = stripes(value);
        } else if name.eq_ignore_ascii_case(MAKER_FIELD) {
            self.maker = value.parse().ok();
        } else if name.eq_ignore_ascii_case(ALTERNATES_FIELD) {
            self.alternates = value
                .split(',')
                .filter_map(|a| a.trim().parse().ok())
                .take(MAX_ALTERNATES)
                .collect();
        } else {
            return false;
        }
        true
    }
}
