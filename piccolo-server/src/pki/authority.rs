//! Certificates: the authority's own, and those that it signs.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use daemon::{
    clock::Clock,
    tls::{Identity, Role},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use sha2::{Digest as _, Sha256};
use x509_parser::{pem::Pem, prelude::X509Certificate};

use super::{CA, CA_KEY, PkiError, subject::Subject};

/// How long ago a new certificate began to count: other machines' clocks may be behind.
const BEGAN: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// An authority, read from its files.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: PathBuf,
    pub(crate) pem: String,
    /// When it expires, since the Unix epoch.
    pub(crate) expires: Duration,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// A certificate and its key, in PEM.
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// The day on which it expires.
    pub(crate) until: String,
}

/// A new authority.
pub(crate) fn make(days: u32, clock: &Clock) -> Result<Made, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = lasting(days, clock);
    // Two authorities of one name would be told apart only by their signatures.
    let print = hex::encode(Sha256::digest(key.public_key_raw()));
    let name = format!("Piccolo {}", print.get(..16).unwrap_or_default());
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let signed = params.self_signed(&key)?;
    Ok(Made {
        certificate: signed.pem(),
        key: key.serialize_pem(),
        until: params.not_after.date().to_string(),
    })
}

impl Authority {
    pub(crate) fn read(directory: &Path) -> Result<Self, PkiError> {
        let [certificate, key] = [CA, CA_KEY].map(|name| directory.join(name));
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| PkiError::Read {
                path: path.to_owned(),
                source,
            })
        };
        let (pem, key_pem) = (read(&certificate)?, read(&key)?);
        Self::of((certificate, pem), (key, &key_pem))
    }

    /// Reads one from its files' content; they are named in errors.
    pub(crate) fn of(
        (certificate, pem): (PathBuf, String),
        (key, key_pem): (PathBuf, &str),
    ) -> Result<Self, PkiError> {
        let no_certificate = || PkiError::Pem {
            path: certificate.clone(),
            what: "certificate",
        };
        let parsed = Pem::iter_from_buffer(pem.as_bytes())
            .next()
            .and_then(Result::ok)
            .ok_or_else(no_certificate)?;
        let own = parsed.parse_x509().map_err(|_other| no_certificate())?;
        if !own.is_ca() {
            return Err(PkiError::NoAuthority(certificate));
        }
        let pair = KeyPair::from_pem(key_pem).map_err(|_other| PkiError::Pem {
            path: key.clone(),
            what: "private key",
        })?;
        if !is_pair(&own, &pair) {
            return Err(PkiError::Pair { key, certificate });
        }
        let expires = own.validity().not_after.timestamp();
        let expires = Duration::from_secs(u64::try_from(expires).unwrap_or(0));
        let der = parsed.contents.clone().into();
        let issuer = Issuer::from_ca_cert_der(&der, pair).map_err(PkiError::Make)?;
        Ok(Self {
            issuer,
            certificate,
            pem,
            expires,
        })
    }

    /// A new key, and the certificate for it.
    pub(crate) fn issue(
        &self,
        subject: &Subject,
        days: u32,
        clock: &Clock,
    ) -> Result<Made, PkiError> {
        let left = self.expires.saturating_sub(clock.now());
        if left < DAY {
            return Err(PkiError::Expired(self.certificate.clone()));
        }
        if left < DAY * days {
            return Err(PkiError::Late {
                path: self.certificate.clone(),
                left: left.as_secs() / DAY.as_secs(),
            });
        }
        let mut params = lasting(days, clock);
        let key = KeyPair::generate().map_err(PkiError::Make)?;
        let certificate = self.sign(&mut params, subject, &key)?;
        Ok(Made {
            certificate,
            key: key.serialize_pem(),
            until: params.not_after.date().to_string(),
        })
    }

    /// A certificate for somebody's key, in PEM, that counts for so long, and not longer than the authority.
    pub(crate) fn certify(
        &self,
        subject: &Subject,
        key: &impl PublicKeyData,
        lasts: Duration,
        clock: &Clock,
    ) -> Result<String, PkiError> {
        let lasts = lasts.min(self.expires.saturating_sub(clock.now()));
        if lasts.is_zero() {
            return Err(PkiError::Expired(self.certificate.clone()));
        }
        // A small part of its life, as it is renewed by that.
        let mut params = counting(lasts, BEGAN.min(lasts / 24), clock);
        self.sign(&mut params, subject, key)
    }

    fn sign(
        &self,
        params: &mut CertificateParams,
        subject: &Subject,
        key: &impl PublicKeyData,
    ) -> Result<String, PkiError> {
        let name = common_name(&subject.identity);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages(subject.identity.role);
        params.subject_alt_names.clone_from(&subject.names);
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(key, &self.issuer);
        Ok(signed.map_err(PkiError::Make)?.pem())
    }
}

fn is_pair(certificate: &X509Certificate<'_>, key: &KeyPair) -> bool {
    let public = &certificate.public_key().subject_public_key.data;
    public.as_ref() == key.public_key_raw()
}

/// Agents call servers, and answer each other; servers answer agents, and call each other.
fn usages(role: Role) -> Vec<ExtendedKeyUsagePurpose> {
    let mut usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    match role {
        Role::Agent | Role::Server => usages.push(ExtendedKeyUsagePurpose::ServerAuth),
        Role::Operator | Role::Reader => {}
    }
    usages
}

/// For people who look at it; at most 64 characters are allowed.
fn common_name(identity: &Identity) -> String {
    let name = identity.name.get(..48).unwrap_or(&identity.name);
    format!("{} {name}", identity.role)
}

fn lasting(days: u32, clock: &Clock) -> CertificateParams {
    counting(DAY * days, BEGAN, clock)
}

fn counting(lasts: Duration, began: Duration, clock: &Clock) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = clock.now();
    let mut params = CertificateParams::default();
    params.not_before = epoch + now.saturating_sub(began);
    params.not_after = epoch + now + lasts;
    params
}
