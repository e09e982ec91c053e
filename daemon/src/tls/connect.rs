//! The dialling side of a connection.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use metrics::counter;
use parking_lot::Mutex;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsConnector, TlsStream};
use tower::Service;

use super::{HANDSHAKE, Inner, Leaf, LeafError, MaybeTls, Mode, Role, Tls, seen::agent_at};
use crate::metric::Metric;

pub(super) const DIALLED: Metric = Metric::counter(
    "piccolo_tls_dialled_total",
    &[(
        "outcome",
        "`tls`, `plain` (with `--tls permissive`, to who does not speak it), `failed` (the handshake, or \
         the other side's certificate does not count), `stripped` (no TLS, where the other side has \
         spoken it before)",
    )],
    "Connections to servers and to other agents by what came of TLS.",
);

/// How long one that does not speak TLS is not asked for it again.
pub(super) const PLAIN: Duration = Duration::from_mins(1);

/// Who is dialled, and how.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// How this program speaks TLS.
    pub tls: Tls,
    /// The role that the other side must have.
    pub role: Option<Role>,
    /// The group that an agent must be in.
    pub group: Option<String>,
}

/// Connects by TCP, and by TLS on top of it where it is to be.
#[derive(Debug, Clone)]
pub struct Connector {
    tcp: HttpConnector,
    peer: Peer,
    /// Until when whom is dialled plainly, as it does not speak TLS.
    plain: Arc<Mutex<HashMap<String, Instant>>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL asks for TLS, and there is none.
    #[error("{0} is to be reached by https, for which --tls has to be on")]
    Off(String),
    /// No TCP connection.
    #[error("no connection to {0}")]
    Tcp(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing that a certificate could be for.
    #[error("{0} is neither a host name nor an address")]
    Host(String, #[source] InvalidDnsNameError),
    /// The handshake failed.
    #[error("the TLS handshake with {0} failed")]
    Handshake(String, #[source] io::Error),
    /// The handshake took too long.
    #[error("no TLS handshake with {0} within {HANDSHAKE:?}")]
    Late(String),
    /// It does not speak TLS, and it did before.
    #[error(
        "{0} does not speak TLS, as it did when its certificate was last seen: somebody may be in between; \
         if TLS was turned off there, remove the --tls-seen file here and restart"
    )]
    Stripped(String, #[source] io::Error),
    /// Its certificate says nothing that counts.
    #[error("the certificate of {0} does not count here")]
    Leaf(String, #[source] LeafError),
    /// Its certificate has expired since a session with it began.
    #[error("the certificate of {0} has expired")]
    Expired(String),
    /// It is somebody else.
    #[error("{host} has the certificate of {is}, and the role {role} is needed")]
    Role {
        /// Who was dialled.
        host: String,
        /// Who it is.
        is: String,
        /// Who it should be.
        role: Role,
    },
    /// It is one of another group.
    #[error("{host} has the certificate of {is}, and this agent is in group {group}")]
    Group {
        /// Who was dialled.
        host: String,
        /// Who it is.
        is: String,
        /// Where it should be.
        group: String,
    },
}

impl Connector {
    /// Connects to `peer` by `tcp`.
    pub fn new(mut tcp: HttpConnector, peer: Peer) -> Self {
        tcp.enforce_http(false);
        let plain = Arc::default();
        Self { tcp, peer, plain }
    }

    async fn connect(mut self, uri: Uri) -> Result<MaybeTls<TcpStream>, ConnectError> {
        let host = uri
            .authority()
            .map_or("", http::uri::Authority::as_str)
            .to_owned();
        let is_https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        let Some(inner) = self.peer.tls.inner.clone() else {
            if is_https {
                return Err(ConnectError::Off(host));
            }
            return self.dial(&host, uri).await.map(MaybeTls::Plain);
        };
        // One without a certificate has nothing to show.
        let has_none = || inner.material().is_err() && self.believes_plain(&host);
        if !is_https && (self.is_plain(&host) || has_none()) {
            return self.dial(&host, uri).await.map(MaybeTls::Plain);
        }
        let connected = match self.encrypted(&inner, &host, &uri).await {
            Err(ConnectError::Handshake(_, error)) if is_no_tls(&error) && !is_https => {
                self.without(&inner, host, uri, error).await
            }
            connected => connected,
        };
        let outcome = match &connected {
            Ok(MaybeTls::Tls(_)) => "tls",
            Ok(MaybeTls::Plain(_)) => "plain",
            // It has come to nothing of TLS.
            Err(ConnectError::Tcp(..)) => return connected,
            Err(ConnectError::Stripped(..)) => "stripped",
            Err(_) => "failed",
        };
        counter!(DIALLED.name, "outcome" => outcome).increment(1);
        connected
    }

    /// Connects plainly to who has just shown that it speaks no TLS, if that is believed.
    async fn without(
        &mut self,
        inner: &Inner,
        host: String,
        uri: Uri,
        error: io::Error,
    ) -> Result<MaybeTls<TcpStream>, ConnectError> {
        if self.believes_plain(&host) {
            self.found_plain(&host);
            self.dial(&host, uri).await.map(MaybeTls::Plain)
        } else if inner.mode == Mode::Permissive {
            Err(ConnectError::Stripped(host, error))
        } else {
            Err(ConnectError::Handshake(host, error))
        }
    }

    /// `host` does not speak TLS.
    fn found_plain(&self, host: &str) {
        let now = Instant::now();
        let mut plain = self.plain.lock();
        plain.retain(|_, until| *until > now);
        plain.insert(host.to_owned(), now + PLAIN);
    }

    fn is_plain(&self, host: &str) -> bool {
        let plain = self.plain.lock();
        plain.get(host).is_some_and(|until| *until > Instant::now()) && self.believes_plain(host)
    }

    fn believes_plain(&self, host: &str) -> bool {
        let name = format_args!("{}", self.seen(host));
        self.peer.tls.takes_plain(name)
    }

    /// By what name it is remembered that the other side has a certificate: an agent by its address alone.
    fn seen(&self, host: &str) -> String {
        let address = host.parse().map(|address: SocketAddr| address.ip());
        match (self.peer.role, address) {
            (Some(Role::Agent), Ok(address)) => agent_at(address),
            _ => host.to_owned(),
        }
    }

    async fn dial(&mut self, host: &str, uri: Uri) -> Result<TcpStream, ConnectError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            ConnectError::Tcp(host.to_owned(), error)
        };
        std::future::poll_fn(|context| self.tcp.poll_ready(context))
            .await
            .map_err(|error| failed(error.into()))?;
        let stream = self
            .tcp
            .call(uri)
            .await
            .map_err(|error| failed(error.into()))?;
        Ok(stream.into_inner())
    }

    async fn encrypted(
        &mut self,
        inner: &Inner,
        host: &str,
        uri: &Uri,
    ) -> Result<MaybeTls<TcpStream>, ConnectError> {
        let name = uri.host().unwrap_or_default();
        let name = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(name)
            .map_err(|error| ConnectError::Host(host.to_owned(), error))?;
        let material = inner
            .material()
            .map_err(|none| ConnectError::Handshake(host.to_owned(), io::Error::other(none)))?;
        let socket = self.dial(host, uri.clone()).await?;
        let config = match self.peer.role {
            Some(Role::Agent) => &material.among_agents.1,
            _ => &material.client,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let handshake = timeout(HANDSHAKE, connector.connect(name, socket)).await;
        let stream = handshake
            .map_err(|_elapsed| ConnectError::Late(host.to_owned()))?
            .map_err(|error| ConnectError::Handshake(host.to_owned(), error))?;
        let chain = stream.get_ref().1.peer_certificates();
        let leaf = Leaf::of(chain.unwrap_or_default())
            .map_err(|error| ConnectError::Leaf(host.to_owned(), error))?;
        if inner.left(&leaf).is_zero() {
            return Err(ConnectError::Expired(host.to_owned()));
        }
        if let Some(role) = self.peer.role.filter(|role| *role != leaf.identity.role) {
            return Err(ConnectError::Role {
                host: host.to_owned(),
                is: leaf.identity.to_string(),
                role,
            });
        }
        if let Some(group) = (self.peer.group.as_ref()).filter(|g| **g != leaf.identity.group) {
            return Err(ConnectError::Group {
                host: host.to_owned(),
                is: leaf.identity.to_string(),
                group: group.clone(),
            });
        }
        self.peer.tls.note(&self.seen(host), &leaf);
        Ok(MaybeTls::Tls(Box::new(TlsStream::Client(stream))))
    }
}

/// Whether the other side answers a handshake in plain text, as a server of HTTP does that knows no TLS. One
/// that merely closes may have no room.
fn is_no_tls(error: &io::Error) -> bool {
    let inner = error.get_ref();
    let error = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidMessage(_)))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<MaybeTls<TcpStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(uri).await.map(TokioIo::new) })
    }
}
