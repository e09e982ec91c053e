//! Certificates and keys, read from their files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    time_provider::TimeProvider,
    version::TLS13,
};

use super::{
    identity::Role,
    leaf::{Leaf, LeafError},
    settings::Files,
};
use crate::{
    access::{Need, explain},
    clock::Clock,
    whole_file::{self, IfThere, SECRET},
};

/// What the files had in them when they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
}

/// What connections are made with.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    /// The same among agents: every side shows its certificate, and no session is resumed.
    pub(super) among_agents: (Arc<ServerConfig>, Arc<ClientConfig>),
    /// This program's own certificate.
    pub(super) own: Leaf,
    /// Whether one of the authorities has signed it: to those who trust the same ones it is nobody's else.
    pub(super) is_certified: bool,
}

/// Why certificate, key and authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what it has to be.
    #[error("{} has no {what} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// An authority's certificate is none.
    #[error("{} has a certificate that is none of an authority", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// No way to check certificates by these authorities.
    #[error("{} has no authority that certificates can be checked by", path.display())]
    Verifier {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    /// Certificate and key do not fit, or are of a kind that is not known.
    #[error("{} and {} cannot be used together", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The certificate does not say who this is.
    #[error("{} cannot be used", path.display())]
    Leaf {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: LeafError,
    },
    /// It has expired.
    #[error(
        "{} has expired: issue another one, and look whether this machine's clock is right", .0.display()
    )]
    Expired(PathBuf),
    /// It is another's.
    #[error("{} has the role {is}, and {fit} is needed", path.display())]
    Role {
        /// The file.
        path: PathBuf,
        /// The role in it.
        is: Role,
        /// The roles that this program can have.
        fit: String,
    },
}

impl Content {
    pub(super) fn read(files: &Files) -> Result<Self, MaterialError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            authorities: read(&files.authorities)?,
        })
    }

    /// What the files are to have in them with this certificate and its key.
    pub(super) fn with(certificate: &str, key: &str, files: &Files) -> Result<Self, MaterialError> {
        Ok(Self {
            certificate: certificate.into(),
            // Who is stopped between the two files leaves a pair in this one.
            key: [key, certificate].concat().into(),
            authorities: read(&files.authorities)?,
        })
    }

    /// The same certificate and key, and the authorities as their file has them now.
    pub(super) fn by_authorities_of(&self, files: &Files) -> Result<Self, MaterialError> {
        Ok(Self {
            authorities: read(&files.authorities)?,
            ..self.clone()
        })
    }

    /// Writes key and certificate.
    ///
    /// # Errors
    /// The file that cannot be written, and why.
    pub(super) fn write(&self, files: &Files) -> Result<(), (PathBuf, io::Error)> {
        for (path, bytes) in [
            (&files.key, &self.key),
            (&files.certificate, &self.certificate),
        ] {
            whole_file::make_private_directory(path)
                .and_then(|()| whole_file::write(path, bytes, SECRET, IfThere::Replace))
                .map_err(|error| (path.clone(), error))?;
        }
        Ok(())
    }

    /// Makes what connections need. `files` are named in errors.
    pub(super) fn parse(
        &self,
        files: &Files,
        roles: &[Role],
        clock: &Clock,
    ) -> Result<Material, MaterialError> {
        let parsed = self.parse_with(&self.certificate, files, roles, clock);
        parsed.or_else(|error| {
            // Somebody was stopped between the two files: the key's has its certificate, too.
            let parsed = self.parse_with(&self.key, files, roles, clock);
            parsed.map_err(|_none| error)
        })
    }

    fn parse_with(
        &self,
        certificate: &[u8],
        files: &Files,
        roles: &[Role],
        clock: &Clock,
    ) -> Result<Material, MaterialError> {
        let chain = certificates(certificate, &files.certificate)?;
        let own = usable(&chain, &files.certificate, roles, clock)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_none| MaterialError::Pem {
            path: files.key.clone(),
            what: "private key",
        })?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.authorities, &files.authorities)? {
            roots
                .add(authority)
                .map_err(|source| MaterialError::Authority {
                    path: files.authorities.clone(),
                    source,
                })?;
        }
        let roots = Arc::new(roots);
        let pair = |source| MaterialError::Pair {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            source,
        };
        let provider = Arc::new(provider());
        let time = Arc::new(WallTime(clock.clone()));
        let verifier = || {
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        };
        let unusable = |source| MaterialError::Verifier {
            path: files.authorities.clone(),
            source,
        };
        // Who has no certificate may still have a token; what is asked decides.
        let anybody = verifier().allow_unauthenticated().build();
        let certified = verifier().build().map_err(unusable)?;
        let is_certified = is_certified(&*certified, &chain, &own);
        let server = |verifier| {
            ServerConfig::builder_with_details(Arc::clone(&provider), time.clone())
                .with_protocol_versions(&[&TLS13])
                .map_err(pair)?
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain.clone(), key.clone_key())
                .map_err(pair)
        };
        let mut of_server = server(anybody.map_err(unusable)?)?;
        // Agents open a connection for each keepalive: resuming spares both sides the signatures.
        of_server.ticketer = ring::Ticketer::new().map_err(pair)?;
        let mut of_agent = server(certified)?;
        // Nothing that was not asked for comes on a connection that waits for its next request.
        of_agent.send_tls13_tickets = 0;
        of_agent.session_storage = Arc::new(NoServerSessionStorage {});
        let client = ClientConfig::builder_with_details(Arc::clone(&provider), time.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(pair)?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(pair)?;
        let mut to_agent = client.clone();
        to_agent.resumption = Resumption::disabled();
        Ok(Material {
            server: Arc::new(of_server),
            client: Arc::new(client),
            among_agents: (Arc::new(of_agent), Arc::new(to_agent)),
            own,
            is_certified,
        })
    }
}

/// What a program's own certificate says, if it may have it now.
fn usable(
    chain: &[CertificateDer<'_>],
    path: &Path,
    roles: &[Role],
    clock: &Clock,
) -> Result<Leaf, MaterialError> {
    let own = Leaf::of(chain).map_err(|source| MaterialError::Leaf {
        path: path.to_owned(),
        source,
    })?;
    if !roles.contains(&own.identity.role) {
        return Err(MaterialError::Role {
            path: path.to_owned(),
            is: own.identity.role,
            fit: roles
                .iter()
                .map(|role| role.as_str())
                .collect::<Vec<_>>()
                .join(" or "),
        });
    }
    if own.expires <= clock.now() {
        return Err(MaterialError::Expired(path.to_owned()));
    }
    Ok(own)
}

/// Whether this verifier's authorities have signed a certificate. Whether it counts now is another question.
fn is_certified(
    verifier: &dyn ClientCertVerifier,
    chain: &[CertificateDer<'_>],
    own: &Leaf,
) -> bool {
    let Some((certificate, between)) = chain.split_first() else {
        return false;
    };
    let while_it_counts =
        UnixTime::since_unix_epoch(own.begins + own.expires.saturating_sub(own.begins) / 2);
    verifier
        .verify_client_cert(certificate, between, while_it_counts)
        .is_ok()
}

/// How one calls who is certified by these authorities, in PEM, without a certificate of one's own.
///
/// # Errors
/// When they are none.
pub fn trusting(pem: &[u8], path: &Path, clock: &Clock) -> Result<ClientConfig, MaterialError> {
    let mut roots = RootCertStore::empty();
    let unfit = |source| MaterialError::Authority {
        path: path.to_owned(),
        source,
    };
    for authority in certificates(pem, path)? {
        roots.add(authority).map_err(unfit)?;
    }
    let time = Arc::new(WallTime(clock.clone()));
    // The API of Kubernetes may know no TLS 1.3.
    let config = ClientConfig::builder_with_details(Arc::new(provider()), time)
        .with_safe_default_protocol_versions()
        .map_err(unfit)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn read(path: &Path) -> Result<Vec<u8>, MaterialError> {
    fs::read(path).map_err(|error| MaterialError::Read {
        path: path.to_owned(),
        source: explain(error, path, Need::Read),
    })
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| MaterialError::Pem {
        path: path.to_owned(),
        what: "certificate",
    })
}

/// The time by which certificates are judged.
#[derive(Debug)]
struct WallTime(Clock);

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.now()))
    }
}

/// AES-128-GCM first: it is the fastest where the processor has AES.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    let first = rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != first);
    provider
}
