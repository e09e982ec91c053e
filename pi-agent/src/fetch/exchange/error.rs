//! How a peer fails.

use std::io;

use daemon::tls::{AgentError, is_expiry, is_refusal};
use piccolo_api::{FailureKind, Holder};

use crate::{
    datapath::SourceError,
    http::{HeadError, ResponseError},
};

/// How a write fails when the other side has ended the connection.
const ENDS: [io::ErrorKind; 3] = [
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::UnexpectedEof,
];

/// Why a peer did not deliver. In every case another peer may help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// No connection.
    #[error("the peer could not be reached")]
    Dial(#[source] io::Error),
    /// No connection in time.
    #[error("the peer could not be reached in time")]
    DialDeadline,
    /// The handshake failed, or the peer is not who it has to be.
    #[error("the peer does not show who it has to be")]
    Tls(#[source] AgentError),
    /// It ended a new connection by TLS without a byte of a reply. It may find this node's certificate
    /// wanting, which it does after the handshake, or that has expired.
    #[error("the peer ends a new connection: it may not take this node for one of its group")]
    Unwelcome(#[source] Box<Self>),
    /// The request could not be written.
    #[error("the request could not be sent")]
    Request(#[source] io::Error),
    /// No head.
    #[error("the peer gave no proper reply")]
    Head(#[source] HeadError<ResponseError>),
    /// No head in time.
    #[error("the peer gave no reply in time")]
    HeadDeadline,
    /// It is still getting the object, and had no byte to give in time.
    #[error("the peer had none of the bytes in time")]
    NoFirstByte,
    /// It does not have the object.
    #[error("the peer does not have it")]
    Missing,
    /// It has the object, and does not give it under that name, or as that kind.
    #[error("the peer has it under another name, or as another kind")]
    Withheld,
    /// It is busy.
    #[error("the peer is busy")]
    Busy(Vec<Holder>),
    /// Another status.
    #[error("the peer replied with status {0}")]
    Status(u16),
    /// Its head does not fit the request.
    #[error("the peer's reply contradicts the request: {0}")]
    Contradiction(&'static str),
    /// It is too long for a manifest.
    #[error("the peer's object is too long for a manifest")]
    TooLong,
    /// The body ended, stalled or broke.
    #[error("the peer's reply did not come to its end")]
    Body(#[source] SourceError),
    /// The bytes do not have the digest.
    #[error("the peer's bytes do not have the digest")]
    WrongBytes,
    /// A chunk of the body is another one.
    #[error("the chunk at byte {0} does not have the digest that came with it")]
    WrongChunk(u64),
    /// It goes by another chunk list than the bytes before.
    #[error("the digest of the chunk at byte {0} is not the one that it had before")]
    OtherList(u64),
}

impl PeerError {
    /// Whether the peer may well have the object: the request is mistaken in what it is, or in whose.
    pub(crate) fn is_blameless(&self) -> bool {
        matches!(self, Self::Withheld | Self::TooLong)
    }

    /// The kind that is counted and reported to the server.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Dial(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                FailureKind::Refused
            }
            Self::Dial(_) | Self::DialDeadline => FailureKind::Unreachable,
            Self::Tls(error) if error.is_of_identity() => FailureKind::Identity,
            Self::Unwelcome(_) => FailureKind::Identity,
            // In TLS 1.3 the other side may find this one's certificate wanting after the handshake.
            Self::Head(HeadError::Read(error)) if is_refusal(error) => FailureKind::Identity,
            Self::Tls(AgentError::Late) | Self::HeadDeadline | Self::Body(SourceError::Stalled) => {
                FailureKind::Stalled
            }
            Self::Tls(_)
            | Self::Request(_)
            | Self::Head(HeadError::Closed | HeadError::Cut | HeadError::Read(_))
            | Self::Body(SourceError::Ended | SourceError::Read(_)) => FailureKind::Cut,
            Self::Missing | Self::Withheld | Self::NoFirstByte => FailureKind::Missing,
            Self::Busy(_) => FailureKind::Busy,
            Self::WrongBytes | Self::WrongChunk(_) => FailureKind::WrongBytes,
            Self::Head(HeadError::Parse(_) | HeadError::TooLong)
            | Self::Status(_)
            | Self::OtherList(_)
            | Self::TooLong
            | Self::Contradiction(_) => FailureKind::Protocol,
        }
    }

    /// Whether the certificate of one of both sides has expired meanwhile: it may have another one by now.
    pub(crate) fn is_expiry(&self) -> bool {
        match self {
            Self::Request(error)
            | Self::Head(HeadError::Read(error))
            | Self::Body(SourceError::Read(error)) => is_expiry(error),
            _ => false,
        }
    }

    /// What it is on a new connection by TLS.
    pub(super) fn on_new(self) -> Self {
        let is_end = match &self {
            Self::Head(HeadError::Closed) => true,
            Self::Request(error) if ENDS.contains(&error.kind()) => true,
            other => other.is_expiry(),
        };
        if is_end {
            return Self::Unwelcome(Box::new(self));
        }
        self
    }

    /// Whether the peer cannot be reached.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Dial(_) | Self::DialDeadline)
    }

    /// Whether the connection, not the peer, may be to blame: it had been closed before the
    /// request came.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Self::Request(_) | Self::Head(HeadError::Closed))
    }
}
