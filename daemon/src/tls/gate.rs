//! Who may look at what operators look at.

use std::{fs, io, path::PathBuf, sync::Arc};

use http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::{Leaf, Mode, Role, Shown, Tls};

/// Decides about calls of operators. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    tls: Tls,
    token: Option<Arc<PathBuf>>,
}

/// Why a call is not answered.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// It shows neither certificate nor token.
    #[error("this is for operators: show a certificate of theirs{0}")]
    Nobody(&'static str),
    /// It is not encrypted, and has to be.
    #[error("this is for operators, over TLS only (--tls required)")]
    Plain,
    /// It shows a certificate of somebody else.
    #[error("this is for operators, and the certificate is one of {0}")]
    Role(String),
    /// It shows another token.
    #[error("the bearer token is not the one of --operator-token-file")]
    Token,
    /// The token cannot be read.
    #[error("the file of --operator-token-file cannot be read")]
    File(#[source] io::Error),
}

impl GateError {
    /// The status of the reply that says so.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Nobody(_) | Self::Plain | Self::Token => StatusCode::UNAUTHORIZED,
            Self::Role(_) => StatusCode::FORBIDDEN,
            Self::File(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Gate {
    /// Decides by certificates, and by the token in a file, if there is one. The file is read for each call
    /// that brings a token.
    pub fn new(tls: Tls, token: Option<PathBuf>) -> Self {
        Self {
            tls,
            token: token.map(Arc::new),
        }
    }

    /// Whether one may look who has shown this on its connection, and sent these headers.
    ///
    /// # Errors
    /// When it may not.
    pub fn admit(&self, shown: &Shown, headers: &HeaderMap) -> Result<(), GateError> {
        let is_open = self.tls.mode() == Mode::Off && self.token.is_none();
        if is_open {
            return Ok(());
        }
        // What it would show could be read on the way.
        if *shown == Shown::Plain && self.tls.mode() == Mode::Required {
            return Err(GateError::Plain);
        }
        if let Shown::Certificate(leaf) = shown
            && may_look(leaf).is_ok()
        {
            return Ok(());
        }
        if let (Some(file), Some(said)) = (&self.token, bearer(headers)) {
            let token = fs::read(file.as_ref()).map_err(GateError::File)?;
            let token = token.trim_ascii();
            // By their hashes, so that the time that it takes tells nothing.
            let is_it =
                !token.is_empty() && Sha256::digest(token) == Sha256::digest(said.trim_ascii());
            return if is_it { Ok(()) } else { Err(GateError::Token) };
        }
        match shown {
            Shown::Certificate(leaf) => may_look(leaf),
            // As before TLS, until it is required.
            Shown::Plain if self.token.is_none() => Ok(()),
            Shown::Plain | Shown::Nothing => Err(GateError::Nobody(if self.token.is_some() {
                ", or the bearer token of --operator-token-file"
            } else {
                ""
            })),
        }
    }
}

fn may_look(leaf: &Leaf) -> Result<(), GateError> {
    match leaf.identity.role {
        Role::Operator | Role::Reader | Role::Server => Ok(()),
        Role::Agent => Err(GateError::Role(leaf.identity.to_string())),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let said = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = said.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}
