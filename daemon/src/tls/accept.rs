//! The accepting side of a connection.

use std::{io, net::SocketAddr, sync::Arc};

use metrics::counter;
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::warn;

use super::{HANDSHAKE, Inner, Leaf, LeafError, MaybeTls, Mode, Tls};
use crate::{metric::Metric, telemetry::chain};

pub(super) const ACCEPTED: Metric = Metric::counter(
    "piccolo_tls_accepted_total",
    &[(
        "outcome",
        "`tls`, `plain` (of `--tls permissive`), `open` (plain, to the admin listener), `closed` (without a \
         byte), `refused` (plain, where TLS is required), `failed` \
         (the handshake: no certificate that counts, or none of this cluster), `late` (nothing, or no \
         handshake, within five seconds)",
    )],
    "Accepted connections by what came of TLS.",
);

/// The first byte of a connection that begins with a TLS handshake; no HTTP method begins with it.
pub(super) const HANDSHAKE_RECORD: u8 = 0x16;

/// What the other side of a connection has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Nothing: the connection is plain.
    Plain,
    /// The connection is encrypted, and it has shown no certificate.
    Nothing,
    /// A certificate that counts.
    Certificate(Arc<Leaf>),
}

/// Why a connection was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It is plain.
    #[error("it is not encrypted, and this program takes only what is (--tls required)")]
    Plain,
    /// The other side closed it at once, as a probe of the port does.
    #[error("it was closed without a byte")]
    Closed,
    /// It said nothing.
    #[error("no TLS handshake within {HANDSHAKE:?}")]
    Late,
    /// The handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The certificate says nothing that counts.
    #[error("the certificate does not count here")]
    Leaf(#[source] LeafError),
    /// It has expired since its owner last showed it.
    #[error("the certificate has expired")]
    Expired,
}

impl Tls {
    /// Takes a connection that was just accepted: makes the handshake where there is to be one. `wrap`
    /// makes what is read and written of the socket.
    ///
    /// # Errors
    /// When it is not to be served. That is counted and logged.
    pub async fn accept<S>(
        &self,
        socket: TcpStream,
        remote: SocketAddr,
        wrap: impl FnOnce(TcpStream) -> S,
    ) -> Result<(MaybeTls<S>, Shown), AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(inner) = &self.inner else {
            return Ok((MaybeTls::Plain(wrap(socket)), Shown::Plain));
        };
        let taken = match timeout(HANDSHAKE, inner.accept(socket, self.also_plain, wrap)).await {
            Ok(taken) => taken,
            Err(_elapsed) => Err(AcceptError::Late),
        };
        let outcome = match &taken {
            Ok((_, Shown::Plain)) if self.also_plain => "open",
            Ok((_, Shown::Plain)) => "plain",
            Err(AcceptError::Closed) => "closed",
            Ok(_) => "tls",
            Err(AcceptError::Plain) => "refused",
            Err(AcceptError::Late) => "late",
            Err(_) => "failed",
        };
        counter!(ACCEPTED.name, "outcome" => outcome).increment(1);
        match &taken {
            Ok(_) => inner.refusing.is_well(),
            Err(AcceptError::Closed) => {}
            Err(error) => inner.refusing.happened(|times| {
                let error = chain(error);
                warn!(peer = %remote, %error, times, "a connection was refused");
            }),
        }
        taken
    }
}

impl Inner {
    async fn accept<S>(
        &self,
        socket: TcpStream,
        also_plain: bool,
        wrap: impl FnOnce(TcpStream) -> S,
    ) -> Result<(MaybeTls<S>, Shown), AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut first = [0];
        let length = socket
            .peek(&mut first)
            .await
            .map_err(AcceptError::Handshake)?;
        if length == 0 {
            return Err(AcceptError::Closed);
        }
        if first != [HANDSHAKE_RECORD] {
            return if also_plain || self.mode != Mode::Required {
                Ok((MaybeTls::Plain(wrap(socket)), Shown::Plain))
            } else {
                Err(AcceptError::Plain)
            };
        }
        let material = self.material();
        let material = material.map_err(|none| AcceptError::Handshake(io::Error::other(none)))?;
        let acceptor = TlsAcceptor::from(Arc::clone(&material.server));
        let handshake = acceptor.accept(wrap(socket)).await;
        let stream = handshake.map_err(AcceptError::Handshake)?;
        let shown = self.shown(stream.get_ref().1.peer_certificates())?;
        Ok((MaybeTls::Tls(Box::new(TlsStream::Server(stream))), shown))
    }

    /// A session that is resumed brings the certificate of the first one, which may have expired since.
    fn shown(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Shown, AcceptError> {
        let Some(chain) = chain.filter(|chain| !chain.is_empty()) else {
            return Ok(Shown::Nothing);
        };
        let leaf = Leaf::of(chain).map_err(AcceptError::Leaf)?;
        if self.left(&leaf).is_zero() {
            return Err(AcceptError::Expired);
        }
        Ok(Shown::Certificate(Arc::new(leaf)))
    }
}

impl Shown {
    /// The certificate.
    pub fn leaf(&self) -> Option<&Leaf> {
        match self {
            Self::Certificate(leaf) => Some(leaf),
            Self::Plain | Self::Nothing => None,
        }
    }
}
