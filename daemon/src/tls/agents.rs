//! How agents show each other who they are: on the connections by which they give each other objects, and
//! those by which a rack decides for itself.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use metrics::counter;
use parking_lot::Mutex;
use rustls::{
    CertificateError, client::UnbufferedClientConnection, pki_types::ServerName,
    server::UnbufferedServerConnection,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tracing::warn;

use super::{
    HANDSHAKE, Inner, Leaf, LeafError, Mode, Role, Tls,
    accept::{ACCEPTED, HANDSHAKE_RECORD},
    connect::{DIALLED, PLAIN},
    seen::agent_at,
    session::{Overhead, Session, Side},
    socket::Socket,
};
use crate::{metric::Metric, telemetry::chain};

pub(super) const REFUSED: Metric = Metric::counter(
    "piccolo_tls_agents_refused_total",
    &[
        ("side", "`accepted`, `dialled`"),
        (
            "reason",
            "`plain` (TLS is required), `stripped` (plain, from who has shown a certificate before), `nobody` \
             (no certificate), `untrusted` (by no authority of ours), `expired`, `role`, `group`, `address` \
             (the certificate is for another one), `alert` (the other side refuses this node's), `late` (no \
             handshake within five seconds), `broken`",
        ),
    ],
    "Connections with other agents that were not taken for who the other side is, or may be.",
);

/// How long the handshake of one that never spoke TLS is waited for where plain is allowed, too.
const SILENT: Duration = Duration::from_secs(1);
/// Most addresses that are remembered to speak no TLS.
const MOST: usize = 4096;

/// How an agent speaks with other agents. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Agents(Option<Arc<Plane>>);

#[derive(Debug)]
struct Plane {
    tls: Tls,
    inner: Arc<Inner>,
    group: String,
    /// Until when whom is dialled plainly, as it does not speak TLS.
    plain: Mutex<HashMap<IpAddr, Instant>>,
}

/// How another agent is to be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Without TLS.
    Plain,
    /// With TLS.
    Tls,
    /// With TLS, and without where it turns out to speak none.
    Either,
}

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

impl Agents {
    /// How an agent of `group` does it.
    pub fn new(tls: &Tls, group: &str) -> Self {
        let plane = tls.inner.clone().map(|inner| Plane {
            tls: tls.clone(),
            inner,
            group: group.to_owned(),
            plain: Mutex::default(),
        });
        Self(plane.map(Arc::new))
    }

    /// Which connections are encrypted.
    pub fn mode(&self) -> Mode {
        self.0.as_ref().map_or(Mode::Off, |plane| plane.inner.mode)
    }

    /// Takes a connection that was just accepted from `remote`; `overhead` is told of what TLS adds.
    ///
    /// # Errors
    /// When it is not to be served. That is counted and logged.
    pub async fn accept(
        &self,
        tcp: TcpStream,
        remote: SocketAddr,
        within: Duration,
        overhead: impl Overhead + 'static,
    ) -> Result<Socket, AgentError> {
        let Some(plane) = &self.0 else {
            return Ok(Socket::plain(tcp));
        };
        let address = remote.ip().to_canonical();
        let taking = plane.accept(tcp, address, Box::new(overhead));
        let taken = timeout(within.min(HANDSHAKE), taking).await;
        let taken = taken.unwrap_or(Err(AgentError::Late));
        let outcome = match &taken {
            Ok(socket) if socket.as_plain().is_some() => "plain",
            Ok(_) => "tls",
            Err(AgentError::Closed) => "closed",
            Err(AgentError::Plain | AgentError::Stripped(_)) => "refused",
            Err(AgentError::Late) => "late",
            Err(_) => "failed",
        };
        counter!(ACCEPTED.name, "outcome" => outcome).increment(1);
        match &taken {
            Ok(_) => plane.inner.refusing.is_well(),
            Err(AgentError::Closed) => {}
            Err(error) => plane.refused("accepted", address, error),
        }
        taken
    }

    /// How the agent at `address` is to be dialled.
    pub fn way(&self, address: IpAddr) -> Way {
        match &self.0 {
            None => Way::Plain,
            Some(plane) => plane.way(address.to_canonical()),
        }
    }

    /// Makes the handshake on a connection that was just opened to `address`, within that time; `overhead` is
    /// told of what TLS adds.
    ///
    /// # Errors
    /// When the other side is not who it has to be, which is counted and logged; [`AgentError::NoTls`] when
    /// it is to be dialled without TLS.
    pub async fn dial(
        &self,
        tcp: TcpStream,
        address: IpAddr,
        within: Duration,
        overhead: impl Overhead + 'static,
    ) -> Result<Socket, AgentError> {
        let Some(plane) = &self.0 else {
            return Ok(Socket::plain(tcp));
        };
        let address = address.to_canonical();
        let dialling = plane.dial(tcp, address, within, Box::new(overhead));
        let dialled = dialling.await;
        let outcome = match &dialled {
            Ok(_) => "tls",
            Err(AgentError::NoTls(_)) => "plain",
            Err(AgentError::Stripped(_)) => "stripped",
            Err(_) => "failed",
        };
        counter!(DIALLED.name, "outcome" => outcome).increment(1);
        match &dialled {
            Ok(_) | Err(AgentError::NoTls(_)) => {}
            Err(error) => plane.refused("dialled", address, error),
        }
        dialled
    }
}

impl Plane {
    async fn accept(
        &self,
        tcp: TcpStream,
        address: IpAddr,
        overhead: Box<dyn Overhead>,
    ) -> Result<Socket, AgentError> {
        let mut first = [0];
        let length = tcp.peek(&mut first).await.map_err(AgentError::Handshake)?;
        if length == 0 {
            return Err(AgentError::Closed);
        }
        if first != [HANDSHAKE_RECORD] {
            return if self.tls.takes_plain(format_args!("{}", agent_at(address))) {
                Ok(Socket::plain(tcp))
            } else if self.inner.mode == Mode::Required {
                Err(AgentError::Plain)
            } else {
                Err(AgentError::Stripped(address))
            };
        }
        let config = Arc::clone(&self.inner.material().among_agents.0);
        let server = UnbufferedServerConnection::new(config).map_err(broken)?;
        let mut session = Session::new(Side::Server(server), overhead);
        let handshake = session.handshake(&tcp).await;
        handshake.map_err(AgentError::Handshake)?;
        let leaf = self.agent(&session)?;
        if !leaf.has(address) {
            let is = leaf.identity.to_string();
            return Err(AgentError::Address { is, address });
        }
        Ok(self.taken(tcp, session, address, &leaf))
    }

    async fn dial(
        &self,
        tcp: TcpStream,
        address: IpAddr,
        within: Duration,
        overhead: Box<dyn Overhead>,
    ) -> Result<Socket, AgentError> {
        let config = Arc::clone(&self.inner.material().among_agents.1);
        let name = ServerName::IpAddress(address.into());
        let client = UnbufferedClientConnection::new(config, name).map_err(broken)?;
        let mut session = Session::new(Side::Client(client), overhead);
        let is_believed = self.tls.takes_plain(format_args!("{}", agent_at(address)));
        let within = if is_believed {
            within.min(SILENT)
        } else {
            within
        };
        let handshake = timeout(within, session.handshake(&tcp)).await;
        let error = match handshake {
            Ok(Ok(())) => {
                let leaf = self.agent(&session)?;
                return Ok(self.taken(tcp, session, address, &leaf));
            }
            Ok(Err(error)) => error,
            Err(_elapsed) if is_believed => io::ErrorKind::TimedOut.into(),
            Err(_elapsed) => return Err(AgentError::Late),
        };
        match is_no_tls(&error) {
            NoTls::Answers | NoTls::Ends if is_believed => {
                self.found_plain(address);
                Err(AgentError::NoTls(error))
            }
            NoTls::Answers if self.inner.mode == Mode::Permissive => {
                Err(AgentError::Stripped(address))
            }
            _ => Err(AgentError::Handshake(error)),
        }
    }

    /// Whether the other side is an agent of this one's group.
    fn agent(&self, session: &Session) -> Result<Leaf, AgentError> {
        let chain = session.state().peer_certificates();
        let leaf = Leaf::of(chain.unwrap_or_default()).map_err(AgentError::Leaf)?;
        let is = || leaf.identity.to_string();
        if self.inner.left(&leaf).is_zero() {
            return Err(AgentError::Expired(is()));
        }
        if leaf.identity.role != Role::Agent {
            return Err(AgentError::Role(is()));
        }
        if leaf.identity.group != self.group {
            let group = self.group.clone();
            return Err(AgentError::Group { is: is(), group });
        }
        Ok(leaf)
    }

    fn taken(&self, tcp: TcpStream, session: Session, address: IpAddr, leaf: &Leaf) -> Socket {
        self.tls.note(&agent_at(address), leaf);
        // The other side ends it when this one's certificate expires.
        let own = self.inner.left(&self.inner.material().own);
        // More than centuries are as good as for ever.
        let until = Instant::now().checked_add(self.inner.left(leaf).min(own));
        Socket::encrypted(tcp, session, until)
    }

    fn way(&self, address: IpAddr) -> Way {
        if !self.tls.takes_plain(format_args!("{}", agent_at(address))) {
            return Way::Tls;
        }
        let plain = self.plain.lock();
        match plain.get(&address) {
            Some(until) if *until > Instant::now() => Way::Plain,
            _ => Way::Either,
        }
    }

    fn found_plain(&self, address: IpAddr) {
        let now = Instant::now();
        let mut plain = self.plain.lock();
        plain.retain(|_, until| *until > now);
        if plain.len() < MOST {
            plain.insert(address, now + PLAIN);
        }
    }

    fn refused(&self, side: &'static str, address: IpAddr, error: &AgentError) {
        counter!(REFUSED.name, "side" => side, "reason" => error.reason()).increment(1);
        self.inner.refusing.happened(|times| {
            let error = chain(error);
            warn!(peer = %address, side, %error, times, "a connection with another agent was refused");
        });
    }
}

/// What an answer to the beginning of a handshake says that is none.
enum NoTls {
    /// That the other side speaks something else.
    Answers,
    /// Nothing: it may speak something else.
    Ends,
    /// Something of TLS.
    No,
}

fn is_no_tls(error: &io::Error) -> NoTls {
    match tls_error(error) {
        Some(rustls::Error::InvalidMessage(_)) => NoTls::Answers,
        Some(_) => NoTls::No,
        None => NoTls::Ends,
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn broken(error: rustls::Error) -> AgentError {
    AgentError::Handshake(io::Error::other(error))
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
    fn reason(&self) -> &'static str {
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
