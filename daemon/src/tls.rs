//! Mutual TLS between Piccolo's programs: who they are, and connections whose other side has shown it.
//!
//! A certificate counts if an authority of ours signed it, it has not expired, and its URI name says who
//! its owner is. Its files are read again when they change. TLS 1.3 only, without early data.

mod accept;
mod adopt;
mod agents;
mod buffer;
mod connect;
mod gate;
mod identity;
mod leaf;
mod material;
mod refusal;
mod seen;
mod session;
mod settings;
mod socket;
mod stream;

use std::{fmt, io, sync::Arc, time::Duration};

use metrics::{counter, gauge};
use parking_lot::{Mutex, RwLock};
use tracing::{info, warn};

pub use self::{
    accept::{AcceptError, Shown},
    adopt::{AdoptError, StoreError},
    agents::{Agents, Way},
    connect::{Connector, Peer},
    gate::{Gate, GateError},
    identity::{Identity, IdentityError, Role},
    leaf::{Leaf, LeafError},
    material::{MaterialError, trusting},
    refusal::{AgentError, is_refusal},
    session::{Overhead, Uncounted},
    settings::{Files, MissingError, Mode, issuer_url},
    socket::{Socket, is_expiry},
    stream::MaybeTls,
};
use self::{
    material::{Content, Material},
    seen::Seen,
};
use crate::{clock::Clock, metric::Metric, scope::Scope, spell::Spell, telemetry::chain};

/// What this module counts.
pub const METRICS: &[Metric] = &[connect::DIALLED, EXPIRES, RELOADS];
/// What it counts of listeners besides.
pub const OF_LISTENERS: &[Metric] = &[accept::ACCEPTED];
/// What it counts of connections among agents besides.
pub const OF_AGENTS: &[Metric] = &[agents::REFUSED];

const EXPIRES: Metric = Metric::gauge(
    "piccolo_tls_certificate_expires_seconds",
    &[],
    "When this program's own certificate expires, in seconds since 1970; 0 without TLS.",
);
const RELOADS: Metric = Metric::counter(
    "piccolo_tls_reloads_total",
    &[("outcome", "`good` or `bad`")],
    "Looks that found certificate, key or authorities changed; every five seconds while they are bad.",
);

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(5);
/// How long before its end a certificate is complained of.
const NEAR: Duration = Duration::from_hours(1);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How this program speaks TLS. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// `None` where it is off.
    inner: Option<Arc<Inner>>,
    /// Whether plain connections are taken even where TLS is required.
    also_plain: bool,
}

#[derive(Debug)]
struct Inner {
    mode: Mode,
    roles: &'static [Role],
    clock: Clock,
    files: Files,
    /// `None` until there is a certificate.
    material: RwLock<Option<Arc<Material>>>,
    /// Whether the files have what is in force. Held by who reads them all, or writes them, so that a key meets its
    /// certificate.
    is_stored: Mutex<bool>,
    /// What is in force, so that only changes are parsed.
    content: Mutex<Option<Content>>,
    seen: Seen,
    refusing: Spell,
    reloading: Spell,
    expiring: Spell,
    storing: Spell,
}

/// Nothing can be encrypted yet.
#[derive(Debug, thiserror::Error)]
#[error("this program has no certificate yet")]
struct NoCertificate;

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not given.
    #[error(transparent)]
    Missing(#[from] MissingError),
    /// A file cannot be used.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// Who has spoken TLS cannot be remembered.
    #[error("{0} (--tls-seen) cannot be read, or not be written")]
    Seen(String, #[source] io::Error),
}

impl Tls {
    /// Reads the files; without `files` there is no TLS.
    ///
    /// # Errors
    /// When one cannot be used, or the certificate is one of none of `roles`, or has expired.
    pub fn load(
        mode: Mode,
        files: Option<Files>,
        roles: &'static [Role],
        clock: Clock,
    ) -> Result<Self, TlsError> {
        let Some(files) = files else {
            return Ok(Self::default());
        };
        let content = Content::read(&files)?;
        let material = content.parse(&files, roles, &clock)?;
        let inner = Inner::new((mode, roles), files, Some((content, material)), clock)?;
        inner.in_force();
        Ok(inner.into())
    }

    /// The same where somebody is to put a certificate there, once this program runs. Until then it takes and
    /// makes no encrypted connection, and others only where the mode allows them.
    ///
    /// # Errors
    /// When who has spoken TLS cannot be remembered.
    pub fn load_or_wait(
        mode: Mode,
        files: Option<Files>,
        roles: &'static [Role],
        clock: Clock,
    ) -> Result<Self, TlsError> {
        let Some(files) = files else {
            return Ok(Self::default());
        };
        let found = Content::read(&files).and_then(|content| {
            let material = content.parse(&files, roles, &clock)?;
            Ok((content, material))
        });
        if let Err(error) = &found {
            info!(why = %chain(error), "no certificate yet");
        }
        let inner = Inner::new((mode, roles), files, found.ok(), clock)?;
        inner.in_force();
        Ok(inner.into())
    }

    /// Which connections are encrypted.
    pub fn mode(&self) -> Mode {
        self.inner.as_ref().map_or(Mode::Off, |inner| inner.mode)
    }

    /// The same for a listener that is probed without TLS: plain connections are taken in every mode, and
    /// what is asked over them decides.
    #[must_use]
    pub fn also_plain(self) -> Self {
        Self {
            also_plain: true,
            ..self
        }
    }

    /// This program's own certificate.
    pub fn own(&self) -> Option<Leaf> {
        let material = self.inner.as_ref()?.material().ok()?;
        Some(material.own.clone())
    }

    /// Whether it is signed by an authority that this program trusts itself.
    pub fn is_certified(&self) -> bool {
        let material = self.inner.as_ref().and_then(|inner| inner.material().ok());
        material.is_some_and(|material| material.is_certified)
    }

    /// The files of this program's certificate.
    pub fn files(&self) -> Option<&Files> {
        self.inner.as_ref().map(|inner| &inner.files)
    }

    /// Who has a certificate, and says so at these names: it is not believed without any more.
    pub fn note(&self, name: &str, leaf: &Leaf) {
        if let Some(inner) = &self.inner {
            inner.seen.note(name, leaf.expires, inner.clock.now());
        }
    }

    /// Whether `name` is believed without TLS. It is formatted only where that depends on it.
    pub fn takes_plain(&self, name: fmt::Arguments<'_>) -> bool {
        match &self.inner {
            None => true,
            Some(inner) => {
                let is_seen = || inner.seen.has(&name.to_string(), inner.clock.now());
                inner.mode == Mode::Permissive && !is_seen()
            }
        }
    }

    /// How long a certificate still counts.
    pub fn left(&self, leaf: &Leaf) -> Duration {
        match &self.inner {
            None => leaf.expires,
            Some(inner) => inner.left(leaf),
        }
    }

    /// Reads the files again when they change, until the scope drains.
    pub async fn follow(self, scope: Scope) {
        let Some(inner) = self.inner else {
            // A service lasts as long as the process.
            return scope.draining().await;
        };
        loop {
            tokio::select! {
                () = scope.draining() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
            let looking = Arc::clone(&inner);
            let looked = tokio::task::spawn_blocking(move || looking.look()).await;
            if looked.is_err() {
                break;
            }
        }
        let _ = tokio::task::spawn_blocking(move || inner.seen.store(inner.clock.now())).await;
    }
}

impl From<Inner> for Tls {
    fn from(inner: Inner) -> Self {
        Self {
            inner: Some(Arc::new(inner)),
            also_plain: false,
        }
    }
}

impl Inner {
    fn new(
        (mode, roles): (Mode, &'static [Role]),
        files: Files,
        found: Option<(Content, Material)>,
        clock: Clock,
    ) -> Result<Self, TlsError> {
        let seen = Seen::load(files.seen.clone(), clock.now()).map_err(|error| {
            let file = files.seen.as_ref().map(|file| file.display().to_string());
            TlsError::Seen(file.unwrap_or_default(), error)
        })?;
        let (content, material) = found.unzip();
        Ok(Self {
            mode,
            roles,
            clock,
            files,
            material: RwLock::new(material.map(Arc::new)),
            is_stored: Mutex::new(true),
            content: Mutex::new(content),
            seen,
            refusing: Spell::new("no connections are refused for want of TLS any more"),
            reloading: Spell::new("certificate, key and authorities can be used again"),
            expiring: Spell::new("this program has a newer certificate"),
            storing: Spell::new("who has spoken TLS is remembered again"),
        })
    }

    /// Takes what is new in the files, and stores what is new in memory.
    fn look(&self) {
        let reloaded = self.reload();
        let Ok(own) = self.material().map(|material| material.own.clone()) else {
            // Who is to put a certificate there says why there is none.
            return;
        };
        if reloaded.is_err() {
            counter!(RELOADS.name, "outcome" => "bad").increment(1);
        }
        match reloaded {
            // They are what is in force.
            Ok(false) => self.reloading.is_well(),
            Ok(true) => {
                self.reloading.is_well();
                counter!(RELOADS.name, "outcome" => "good").increment(1);
                self.in_force();
            }
            Err(error) => self.reloading.happened(|times| {
                warn!(error = %chain(&error), times, "new TLS files cannot be used; the earlier ones stay in force");
            }),
        }
        let left = self.left(&own);
        if left < NEAR {
            self.expiring.happened(|times| {
                warn!(?left, times, "this program's certificate expires, and no newer one is there: it is nobody to others then");
            });
        } else {
            self.expiring.is_well();
        }
        match self.seen.store(self.clock.now()) {
            Ok(()) => self.storing.is_well(),
            Err(error) => self.storing.happened(|times| {
                warn!(%error, times, "who has spoken TLS is not remembered over a restart (--tls-seen)");
            }),
        }
    }

    /// Whether there was something new.
    fn reload(&self) -> Result<bool, MaterialError> {
        let is_stored = self.is_stored.lock();
        let in_force = self.content.lock().clone();
        let content = match &in_force {
            Some(in_force) if !*is_stored => in_force.by_authorities_of(&self.files)?,
            _ => Content::read(&self.files)?,
        };
        if in_force.as_ref() == Some(&content) {
            return Ok(false);
        }
        // A key may be there before its certificate: the pair is tried again at the next look.
        let material = content.parse(&self.files, self.roles, &self.clock)?;
        *self.material.write() = Some(Arc::new(material));
        *self.content.lock() = Some(content);
        Ok(true)
    }

    fn in_force(&self) {
        let Ok(material) = self.material() else {
            return;
        };
        let left = self.left(&material.own);
        gauge!(EXPIRES.name).set(material.own.expires.as_secs_f64());
        info!(identity = %material.own.identity, ?left, "certificate in force");
        if !material.is_certified {
            warn!(authorities = %self.files.authorities.display(), "none of these authorities has signed this program's certificate: it is nobody to those who trust the same ones");
        }
    }

    fn left(&self, leaf: &Leaf) -> Duration {
        leaf.expires.saturating_sub(self.clock.now())
    }

    fn material(&self) -> Result<Arc<Material>, NoCertificate> {
        self.material.read().clone().ok_or(NoCertificate)
    }
}
