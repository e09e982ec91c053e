//! The authority that signs: where it is kept, who is told of it, and the signer's own certificate.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use daemon::{
    clock::Clock,
    metric::Metric,
    readiness::Readiness,
    retry::Backoff,
    scope::Scope,
    spell::Spell,
    telemetry::chain,
    tls::{AdoptError, Identity, Role, StoreError, Tls},
    whole_file::{self, IfThere, PUBLIC},
};
use metrics::gauge;
use parking_lot::{Mutex, RwLock};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::{
    task::{JoinError, spawn_blocking},
    time::Instant,
};
use tracing::{info, warn};

use super::kubernetes::{ApiError, Kubernetes};
use crate::{
    app::Host,
    config::{ObjectName, PkiServe},
    pki::{
        CA, CA_KEY, PkiError,
        authority::{self, Authority},
        subject::{Subject, SubjectError},
    },
};

pub(super) const EXPIRES: Metric = Metric::gauge(
    "piccolo_signer_authority_expires_seconds",
    &[],
    "When the signer's authority expires, in seconds since 1970; 0 while it has none.",
);

/// For how many days a new authority counts.
const DAYS: u32 = 3650;
/// How long the signer's own certificate counts.
const OWN: Duration = Duration::from_hours(24);
/// Between two looks at whether all is as it has to be.
const LOOK: Duration = Duration::from_secs(5);
/// How long an empty Secret is left to a signer that still runs, which puts back what was in it: as long as that
/// takes for three looks.
const OTHERS: Duration = Duration::from_secs(15);
/// Between two tries that fail.
const FIRST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(30);
/// The name under which readiness says whether there is one.
const CONDITION: &str = "authority";

/// Keeps the authority as the cluster has it.
pub(super) struct Keeper {
    source: Source,
    config_map: Option<ObjectName>,
    kubernetes: Kubernetes,
    clock: Clock,
    tls: Tls,
    own: Subject,
    readiness: Readiness,
    current: RwLock<Option<Arc<Authority>>>,
    /// What the Secret had in it.
    last: Mutex<Option<(String, String)>>,
    /// Since when there is nothing in it.
    empty: Mutex<Option<Instant>>,
    failing: Spell,
}

// Without the key.
impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Where the authority is kept.
#[derive(Debug)]
enum Source {
    Directory(PathBuf),
    Secret(ObjectName),
}

/// Why there is no authority, or nobody is told of it.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("{0} cannot be looked at, or not be changed")]
    Api(ObjectName, #[source] Box<ApiError>),
    #[error("{0} is not there: the chart makes it")]
    NotThere(ObjectName),
    #[error("{0} was changed at the same time")]
    Changed(ObjectName),
    #[error(
        "Secret {0} is empty: it is given a new authority, unless a signer that still runs puts back what was in it"
    )]
    Empty(ObjectName),
    #[error(
        "Secret {secret} is empty, and ConfigMap {config_map} names an authority: its key is lost. Put the Secret \
         back; or empty the ConfigMap, for a new authority that nobody trusts until pods have seen it"
    )]
    Lost {
        secret: ObjectName,
        config_map: ObjectName,
    },
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("this signer's own certificate cannot be made")]
    Key(#[from] rcgen::Error),
    #[error("this signer's own certificate cannot be used")]
    Adopt(#[from] AdoptError),
    #[error("this signer's own certificate would not outlast a restart")]
    Store(#[from] StoreError),
    #[error("{0} cannot be written")]
    Write(String, #[source] std::io::Error),
    #[error("the files were not looked at")]
    Ended(#[from] JoinError),
}

impl Keeper {
    pub(super) fn new(
        settings: &PkiServe,
        host: &Host,
        kubernetes: Kubernetes,
        tls: Tls,
    ) -> anyhow::Result<Arc<Self>> {
        let source = match (&settings.directory, &settings.secret) {
            (_, Some(secret)) => Source::Secret(secret.clone()),
            (Some(directory), None) => Source::Directory(directory.clone()),
            (None, None) => anyhow::bail!("where is the authority? Give --directory or --secret"),
        };
        let own = own(&settings.domain, &settings.address, &settings.host)?;
        host.readiness.bad(CONDITION, "none yet");
        Ok(Arc::new(Self {
            source,
            config_map: settings.config_map.clone(),
            kubernetes,
            clock: host.clock.clone(),
            tls,
            own,
            readiness: host.readiness.clone(),
            current: RwLock::default(),
            last: Mutex::default(),
            empty: Mutex::default(),
            failing: Spell::new("the authority can be used again"),
        }))
    }

    /// What signs now.
    pub(super) fn current(&self) -> Option<Arc<Authority>> {
        self.current.read().clone()
    }

    /// Looks at it now and then, until the scope drains.
    pub(super) async fn run(&self, scope: Scope) {
        let mut backoff = Backoff::new(FIRST, MOST);
        loop {
            let wait = match self.look().await {
                Ok(()) => {
                    self.failing.is_well();
                    self.readiness.good(CONDITION, "");
                    backoff.reset();
                    LOOK
                }
                Err(error @ KeepError::Empty(_)) => {
                    self.readiness.bad(CONDITION, chain(&error).to_string());
                    LOOK
                }
                Err(error) => {
                    let why = chain(&error).to_string();
                    self.failing.happened(|times| {
                        warn!(error = %why, times, "the authority is not as it has to be");
                    });
                    // One that signs goes on, as the last one is in its memory.
                    if self.current().is_some() && self.tls.own().is_some() {
                        self.readiness.degraded(CONDITION, why);
                    } else {
                        self.readiness.bad(CONDITION, why);
                    }
                    backoff.delay(1.0)
                }
            };
            tokio::select! {
                () = scope.draining() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn look(&self) -> Result<(), KeepError> {
        let found = match &self.source {
            Source::Directory(directory) => {
                let directory = directory.clone();
                spawn_blocking(move || Authority::read(&directory)).await??
            }
            Source::Secret(secret) => self.kept(secret).await?,
        };
        let is_new = self.current().is_none_or(|now| now.pem != found.pem);
        if let Some(config_map) = &self.config_map {
            self.publish(config_map, &found.pem).await?;
        }
        if is_new {
            gauge!(EXPIRES.name).set(found.expires.as_secs_f64());
            info!(authority = %found.certificate.display(), "this authority signs");
        }
        if is_new || self.is_due() {
            self.certify(&found).await?;
        }
        *self.current.write() = Some(Arc::new(found));
        self.tls.store().await?;
        Ok(())
    }

    /// The authority in a Secret. An empty one is given a new authority, by the first of several signers.
    async fn kept(&self, name: &ObjectName) -> Result<Authority, KeepError> {
        let path = path(name, "secrets");
        let api = |error| KeepError::Api(name.clone(), Box::new(error));
        let secret = self.kubernetes.get(&path).await.map_err(api)?;
        let mut secret = secret.ok_or_else(|| KeepError::NotThere(name.clone()))?;
        let value = |key: &str| {
            let bytes = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
            String::from_utf8(bytes)
                .ok()
                .filter(|text| !text.is_empty())
        };
        let pair = match (value(CA), value(CA_KEY)) {
            (None, None) => {
                let pair = self.for_empty(name).await?;
                secret["data"] = json!({
                    CA: STANDARD.encode(&pair.0),
                    CA_KEY: STANDARD.encode(&pair.1),
                });
                // It has the version that was read, so that of two signers one is told of the other.
                if !self.kubernetes.replace(&path, &secret).await.map_err(api)? {
                    return Err(KeepError::Changed(name.clone()));
                }
                info!(secret = %name, "the authority is kept there now");
                pair
            }
            (certificate, key) => (certificate.unwrap_or_default(), key.unwrap_or_default()),
        };
        *self.empty.lock() = None;
        let at = |key: &str| PathBuf::from(format!("Secret {name}, {key}"));
        let authority = Authority::of((at(CA), pair.0.clone()), (at(CA_KEY), &pair.1))?;
        *self.last.lock() = Some(pair);
        Ok(authority)
    }

    /// The certificate and the key that an empty Secret is to have: what it had, or new ones.
    async fn for_empty(&self, name: &ObjectName) -> Result<(String, String), KeepError> {
        if let Some(last) = self.last.lock().clone() {
            warn!(secret = %name, "somebody has emptied it; it gets back what it had");
            return Ok(last);
        }
        if let Some(config_map) = &self.config_map
            && !self.published(config_map).await?.1.trim().is_empty()
        {
            return Err(KeepError::Lost {
                secret: name.clone(),
                config_map: config_map.clone(),
            });
        }
        let since = *self.empty.lock().get_or_insert_with(Instant::now);
        if since.elapsed() < OTHERS {
            return Err(KeepError::Empty(name.clone()));
        }
        let made = authority::make(DAYS, &self.clock)?;
        Ok((made.certificate, made.key))
    }

    /// Adds the authority to those that pods trust.
    async fn publish(&self, name: &ObjectName, pem: &str) -> Result<(), KeepError> {
        let (mut config_map, mut trusted) = self.published(name).await?;
        if trusted.contains(pem.trim()) {
            return Ok(());
        }
        if !trusted.is_empty() && !trusted.ends_with('\n') {
            trusted.push('\n');
        }
        trusted.push_str(pem);
        config_map["data"][CA] = Value::String(trusted);
        let path = path(name, "configmaps");
        let replaced = self.kubernetes.replace(&path, &config_map).await;
        if !replaced.map_err(|error| KeepError::Api(name.clone(), Box::new(error)))? {
            return Err(KeepError::Changed(name.clone()));
        }
        info!(config_map = %name, "pods are told of the authority");
        Ok(())
    }

    async fn published(&self, name: &ObjectName) -> Result<(Value, String), KeepError> {
        let config_map = self.kubernetes.get(&path(name, "configmaps")).await;
        let config_map =
            config_map.map_err(|error| KeepError::Api(name.clone(), Box::new(error)))?;
        let config_map = config_map.ok_or_else(|| KeepError::NotThere(name.clone()))?;
        let trusted = config_map["data"][CA]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Ok((config_map, trusted))
    }

    fn is_due(&self) -> bool {
        self.tls
            .own()
            .is_none_or(|own| self.tls.left(&own) < OWN / 3)
    }

    /// Certifies the signer itself.
    async fn certify(&self, authority: &Authority) -> Result<(), KeepError> {
        let key = KeyPair::generate()?;
        let certificate = authority.certify(&self.own, &key, OWN, &self.clock)?;
        if let Some(files) = self.tls.files() {
            let (path, pem) = (files.authorities.clone(), authority.pem.clone());
            spawn_blocking(move || write_public(&path, &pem)).await??;
        }
        let adopted = (self.tls).adopt(certificate, key.serialize_pem(), |_own| Ok(()));
        Ok(adopted.await?)
    }
}

fn write_public(path: &Path, pem: &str) -> Result<(), KeepError> {
    whole_file::make_private_directory(path)
        .and_then(|()| whole_file::write(path, pem, PUBLIC, IfThere::Replace))
        .map_err(|error| KeepError::Write(path.display().to_string(), error))
}

fn path(name: &ObjectName, kind: &str) -> String {
    let ObjectName { namespace, name } = name;
    format!("/api/v1/namespaces/{namespace}/{kind}/{name}")
}

/// Who the signer is to those who call it.
fn own(domain: &str, addresses: &[IpAddr], hosts: &[String]) -> Result<Subject, SubjectError> {
    if addresses.is_empty() && hosts.is_empty() {
        return Err(SubjectError::ServerAddress);
    }
    let identity = Identity {
        role: Role::Server,
        group: String::new(),
        name: "signer".to_owned(),
    };
    Subject::new(identity, domain, addresses, hosts)
}
