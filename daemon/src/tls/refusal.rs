//! Why an agent does not speak with another one.

use std::{io, net::IpAddr};

use rustls::CertificateError;

use super::LeafError;

/// Why a connection with another agent is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It is plain.
    #[error("it is not encrypted, and this agent takes only what is (--tls required)")]
    Plain,
    /// It is plain, and was not before.
    #[error(
        "{0} does not speak TLS, as it did when its certificate was last seen: somebody may be in between; \
         if TLS was turned off there, remove the --tls-seen file here and restart"
    )]
    Stripped(IpAddr),
    /// The other side does not speak TLS.
    #[error("the other side does not speak TLS")]
    NoTls(#[source] io::Error),
    /// It was closed at once, as a probe of the port does.
    #[error("it was closed without a byte")]
    Closed,
    /// Nothing came in time.
    #[error("no TLS handshake in time")]
    Late,
    /// The handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The certificate says nothing that counts.
    #[error("the certificate does not count here")]
    Leaf(#[source] LeafError),
    /// It has expired.
    #[error("the certificate of {0} has expired")]
    Expired(String),
    /// It is no agent's.
    #[error("the certificate is one of {0}, and only agents speak with agents")]
    Role(String),
    /// It is one of another group.
    #[error("the certificate is one of {is}, and this agent is in group {group}")]
    Group {
        /// Whose it is.
        is: String,
        /// This agent's.
        group: String,
    },
    /// It is another node's.
    #[error("the certificate of {is} is not for {address}")]
    Address {
        /// Whose it is.
        is: String,
        /// Where the connection comes from.
        address: IpAddr,
    },
}

/// What an answer to the beginning of a handshake says that is none.
pub(super) enum NoTls {
    /// That the other side speaks something else.
    Answers,
    /// Nothing: it may speak something else.
    Ends,
    /// Something of TLS.
    No,
}

pub(super) fn is_no_tls(error: &io::Error) -> NoTls {
    match tls_error(error) {
        Some(rustls::Error::InvalidMessage(_)) => NoTls::Answers,
        Some(_) => NoTls::No,
        None => NoTls::Ends,
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

impl AgentError {
    /// Whether it is about who the other side is, or this one.
    pub fn is_of_identity(&self) -> bool {
        match self {
            Self::Late | Self::NoTls(_) | Self::Closed => false,
            Self::Handshake(error) => tls_error(error).is_some(),
            Self::Plain
            | Self::Stripped(_)
            | Self::Leaf(_)
            | Self::Expired(_)
            | Self::Role(_)
            | Self::Group { .. }
            | Self::Address { .. } => true,
        }
    }

    /// As it is counted.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Stripped(_) => "stripped",
            Self::Late => "late",
            Self::Leaf(_) | Self::Role(_) => "role",
            Self::Expired(_) => "expired",
            Self::Group { .. } => "group",
            Self::Address { .. } => "address",
            Self::NoTls(_) | Self::Closed => "broken",
            Self::Handshake(error) => match tls_error(error) {
                Some(rustls::Error::NoCertificatesPresented) => "nobody",
                Some(rustls::Error::AlertReceived(_)) => "alert",
                Some(rustls::Error::InvalidMessage(_)) => "plain",
                Some(rustls::Error::InvalidCertificate(error)) => match error {
                    CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. } => "expired",
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. } => "address",
                    _ => "untrusted",
                },
                _ => "broken",
            },
        }
    }
}

/// Whether a connection between agents failed because the other side does not take this node's certificate.
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(tls_error(error), Some(rustls::Error::AlertReceived(_)))
}
