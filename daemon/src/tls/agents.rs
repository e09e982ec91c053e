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
use rustix::net::{Shutdown, shutdown};
use rustls::{
    client::UnbufferedClientConnection, pki_types::ServerName, server::UnbufferedServerConnection,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tracing::warn;

use super::{
    HANDSHAKE, Inner, Leaf, Mode, Role, Tls,
    accept::{ACCEPTED, HANDSHAKE_RECORD},
    connect::{DIALLED, PLAIN},
    refusal::{AgentError, NoTls, is_no_tls},
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
/// How long one that said nothing of TLS, nor anything else, is dialled plainly. It may merely be busy.
const UNSURE: Duration = Duration::from_secs(5);
/// How long and how many bytes of one that was refused are thrown away, so that it learns of that.
const PARTING: (Duration, usize) = (Duration::from_millis(500), 64 << 10);
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

/// What a handshake came to, and until when that counts, if not for ever.
type Secured = (Session, Option<Instant>);

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
        let taking = plane.accept(&tcp, address, Box::new(overhead));
        let taken = timeout(within.min(HANDSHAKE), taking).await;
        let taken = taken.unwrap_or(Err(AgentError::Late));
        let outcome = match &taken {
            Ok(None) => "plain",
            Ok(Some(_)) => "tls",
            Err(AgentError::Closed) => "closed",
            Err(AgentError::Plain | AgentError::Stripped(_)) => "refused",
            Err(AgentError::Late) => "late",
            Err(_) => "failed",
        };
        counter!(ACCEPTED.name, "outcome" => outcome).increment(1);
        match taken {
            Ok(secured) => {
                plane.inner.refusing.is_well();
                Ok(match secured {
                    None => Socket::plain(tcp),
                    Some((session, until)) => Socket::encrypted(tcp, session, until),
                })
            }
            Err(AgentError::Closed) => Err(AgentError::Closed),
            Err(error) => {
                plane.refused("accepted", address, &error);
                if !matches!(error, AgentError::Late) {
                    part(&tcp).await;
                }
                Err(error)
            }
        }
    }

    /// Whether a connection from `remote` may still be used: a plain one is not any more once the other side
    /// has shown a certificate. That is counted and logged.
    pub fn still_takes(&self, socket: &Socket, remote: IpAddr) -> bool {
        let Some(plane) = &self.0 else { return true };
        let address = remote.to_canonical();
        if socket.as_plain().is_none()
            || (plane.tls).takes_plain(format_args!("{}", agent_at(address)))
        {
            return true;
        }
        plane.refused("accepted", address, &AgentError::Stripped(address));
        false
    }

    /// A plain connection to `address` came to nothing: it is asked again whether it speaks TLS.
    pub fn doubt_plain(&self, address: IpAddr) {
        if let Some(plane) = &self.0 {
            plane.plain.lock().remove(&address.to_canonical());
        }
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
        let dialling = plane.dial(&tcp, address, within, Box::new(overhead));
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
        let (session, until) = dialled?;
        Ok(Socket::encrypted(tcp, session, until))
    }
}

impl Plane {
    /// `None` where it is to be plain.
    async fn accept(
        &self,
        tcp: &TcpStream,
        address: IpAddr,
        overhead: Box<dyn Overhead>,
    ) -> Result<Option<Secured>, AgentError> {
        let mut first = [0];
        let length = tcp.peek(&mut first).await.map_err(AgentError::Handshake)?;
        if length == 0 {
            return Err(AgentError::Closed);
        }
        if first != [HANDSHAKE_RECORD] {
            return if self.tls.takes_plain(format_args!("{}", agent_at(address))) {
                Ok(None)
            } else if self.inner.mode == Mode::Required {
                Err(AgentError::Plain)
            } else {
                Err(AgentError::Stripped(address))
            };
        }
        let material = self.inner.material();
        let material = material.map_err(|none| AgentError::Handshake(io::Error::other(none)))?;
        let config = Arc::clone(&material.among_agents.0);
        let server = UnbufferedServerConnection::new(config).map_err(broken)?;
        let mut session = Session::new(Side::Server(server), overhead);
        let handshake = session.handshake(tcp).await;
        handshake.map_err(AgentError::Handshake)?;
        let agent = self.agent(&session).and_then(|leaf| {
            if leaf.has(address) {
                return Ok(leaf);
            }
            let is = leaf.identity.to_string();
            Err(AgentError::Address { is, address })
        });
        match agent {
            Ok(leaf) => Ok(Some((session, self.taken(address, &leaf, &material.own)))),
            Err(error) => {
                session.close();
                // Where that does not go, the connection's end says it.
                let _ = session.flush(tcp);
                Err(error)
            }
        }
    }

    async fn dial(
        &self,
        tcp: &TcpStream,
        address: IpAddr,
        within: Duration,
        overhead: Box<dyn Overhead>,
    ) -> Result<Secured, AgentError> {
        let is_believed = self.tls.takes_plain(format_args!("{}", agent_at(address)));
        let material = self.inner.material().map_err(|none| {
            let none = io::Error::other(none);
            // One without a certificate has nothing to show.
            if is_believed {
                AgentError::NoTls(none)
            } else {
                AgentError::Handshake(none)
            }
        })?;
        let config = Arc::clone(&material.among_agents.1);
        let name = ServerName::IpAddress(address.into());
        let client = UnbufferedClientConnection::new(config, name).map_err(broken)?;
        let mut session = Session::new(Side::Client(client), overhead);
        let within = if is_believed {
            within.min(SILENT)
        } else {
            within
        };
        let handshake = timeout(within, session.handshake(tcp)).await;
        let error = match handshake {
            Ok(Ok(())) => {
                let leaf = self.agent(&session)?;
                return Ok((session, self.taken(address, &leaf, &material.own)));
            }
            Ok(Err(error)) => error,
            Err(_elapsed) if is_believed => io::ErrorKind::TimedOut.into(),
            Err(_elapsed) => return Err(AgentError::Late),
        };
        match is_no_tls(&error) {
            NoTls::Answers if is_believed => {
                self.found_plain(address, PLAIN);
                Err(AgentError::NoTls(error))
            }
            NoTls::Ends if is_believed => {
                self.found_plain(address, UNSURE);
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

    /// Takes the other side for who it has shown to be by `leaf`, when `own` was shown to it. Gives until when
    /// that counts.
    fn taken(&self, address: IpAddr, leaf: &Leaf, own: &Leaf) -> Option<Instant> {
        self.tls.note(&agent_at(address), leaf);
        // The other side ends it when this one's certificate expires.
        let left = self.inner.left(leaf).min(self.inner.left(own));
        // More than centuries are as good as for ever.
        Instant::now().checked_add(left)
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

    fn found_plain(&self, address: IpAddr, lasts: Duration) {
        let now = Instant::now();
        let mut plain = self.plain.lock();
        plain.retain(|_, until| *until > now);
        if plain.len() < MOST {
            plain.insert(address, now + lasts);
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

/// Ends a connection so that what was said on it arrives: one that is closed with bytes unread is reset, and
/// the other side may not read any more then.
async fn part(tcp: &TcpStream) {
    let (time, most) = PARTING;
    let discarding = async {
        let (mut room, mut came) = ([0; 4 << 10], 0);
        while came < most && tcp.readable().await.is_ok() {
            match tcp.try_read(&mut room) {
                Ok(0) => break,
                Ok(count) => came += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    if shutdown(tcp, Shutdown::Write).is_ok() {
        // Who does not end its side in time is cut off.
        let _ = timeout(time, discarding).await;
    }
}

fn broken(error: rustls::Error) -> AgentError {
    AgentError::Handshake(io::Error::other(error))
}
