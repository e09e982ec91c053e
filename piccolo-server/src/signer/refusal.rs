//! Why a pod gets no certificate.

use http::StatusCode;

use super::kubernetes::ApiError;
use crate::pki::{PkiError, subject::SubjectError};

/// Why a call gets no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The call is none.
    #[error("the call is no certificate request: {0}")]
    Request(&'static str),
    /// The token does not count.
    #[error("the token is not taken: {0}")]
    Token(String),
    /// It is somebody else's.
    #[error("no certificates are issued to {0}")]
    Account(String),
    /// The pod is not what the token says, or not any more.
    #[error("pod {pod} {why}")]
    Pod { pod: String, why: &'static str },
    /// The node is not there, or nowhere.
    #[error("node {node} {why}")]
    Node { node: String, why: &'static str },
    /// It asks too often.
    #[error("too many calls of {0}")]
    Limited(String),
    /// Too many ask.
    #[error("too many ask at once")]
    Busy,
    /// Kubernetes does not answer.
    #[error("who asks cannot be found out")]
    Away(#[from] ApiError),
    /// It takes too long.
    #[error("who asks was not found out in time")]
    Late,
    /// There is nothing to sign with.
    #[error("there is no authority yet")]
    NoAuthority,
    /// The certificate would say what cannot be.
    #[error("the certificate cannot be made")]
    Subject(#[from] SubjectError),
    /// It was not signed.
    #[error("the certificate cannot be made")]
    Sign(#[from] PkiError),
}

impl Refused {
    /// As it is counted.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Token(_) => "token",
            Self::Account(_) => "account",
            Self::Pod { .. } => "pod",
            Self::Node { .. } => "node",
            Self::Limited(_) => "limited",
            Self::Busy => "busy",
            Self::Away(_) => "away",
            Self::Late => "late",
            Self::NoAuthority | Self::Subject(_) | Self::Sign(_) => "failed",
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::Account(_) | Self::Pod { .. } | Self::Node { .. } => StatusCode::FORBIDDEN,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::Away(_) | Self::Late | Self::NoAuthority => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Subject(_) | Self::Sign(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When it is worth asking again; 0 where the caller may decide.
    pub(super) fn retry_after(&self) -> u64 {
        match self {
            Self::Limited(_) => 60,
            Self::Busy | Self::Late => 10,
            _ => 0,
        }
    }
}
