//! A certificate authority of the bed's own, and what it certifies.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

use sha2::{Digest as _, Sha256};

use crate::run::Run;

/// Longer than any run; a machine's clock may also be set back a little.
const LASTS: Duration = Duration::from_hours(7 * 24);

/// A new authority, which no program trusts yet. Its files are in a directory of the run.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The stem of its files.
    pub file: &'a str,
    /// A host's name.
    pub host: Option<&'a str>,
    /// A URI name.
    pub uri: Option<&'a str>,
    /// Addresses.
    pub addresses: &'a [IpAddr],
    /// How long it counts from now on.
    pub lasts: Duration,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// When its files cannot be written.
    pub fn new(run: &Run) -> Result<Self> {
        Self::within(&run.make_directory("authority")?)
    }

    /// Makes one whose files are in `directory`.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn within(directory: &Path) -> Result<Self> {
        let key = KeyPair::generate().context("making an authority's key")?;
        let mut authority = certificate(LASTS)?;
        // Two authorities of one name would be told apart only by their signatures.
        let name = hex::encode(Sha256::digest(key.public_key_raw()));
        authority.distinguished_name.push(DnType::CommonName, name);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let signed = authority.self_signed(&key).context("making an authority")?;
        fs::write(directory.join("ca.crt"), signed.pem()).context("writing a certificate")?;
        Ok(Self {
            directory: directory.to_owned(),
            issuer: Issuer::new(authority, key),
        })
    }

    /// Its own certificate, in PEM.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// The directory that holds nothing but the authority's own certificate, `ca.crt`, and its file.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn public(&self) -> Result<PathBuf> {
        let public = self.directory.join("public");
        fs::create_dir_all(&public).context("making a directory")?;
        fs::copy(self.certificate(), public.join("ca.crt")).context("copying a certificate")?;
        Ok(public)
    }

    /// The flags by which a program of Piccolo shows a certificate, and trusts this authority.
    pub fn flags(&self, own: &Certificate) -> [String; 3] {
        let ca = self.certificate();
        let files = [("cert", &own.certificate), ("key", &own.key), ("ca", &ca)];
        files.map(|(name, file)| format!("--tls-{name}={}", file.display()))
    }

    /// Certifies a host name or an address, and the host's other addresses.
    ///
    /// # Errors
    ///
    /// When its files cannot be written.
    pub fn certify(&self, name: &str, addresses: &[IpAddr]) -> Result<Certificate> {
        let own: Option<IpAddr> = name.parse().ok();
        let addresses: Vec<IpAddr> = own.into_iter().chain(addresses.iter().copied()).collect();
        self.issue(&Subject {
            file: name,
            host: own.is_none().then_some(name),
            uri: None,
            addresses: &addresses,
            lasts: LASTS,
        })
    }

    /// Certifies that the owner of a URI has these addresses.
    ///
    /// # Errors
    ///
    /// When its files cannot be written.
    pub fn identify(&self, file: &str, uri: &str, addresses: &[IpAddr]) -> Result<Certificate> {
        self.issue(&Subject {
            file,
            host: None,
            uri: Some(uri),
            addresses,
            lasts: LASTS,
        })
    }

    /// Certifies the key of a request (PKCS #10 in PEM), whatever that says besides; gives PEM.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn sign(&self, request: &str, subject: &Subject<'_>) -> Result<String> {
        let request = CertificateSigningRequestParams::from_pem(request).context("a request")?;
        let wanted = wanted(subject)?;
        let signed = wanted.signed_by(&request.public_key, &self.issuer);
        Ok(signed.context("certifying a key")?.pem())
    }

    /// Makes a certificate and its key. Files of the same stem are replaced, each as a whole.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn issue(&self, subject: &Subject<'_>) -> Result<Certificate> {
        let wanted = wanted(subject)?;
        let key = KeyPair::generate().context("making a key")?;
        let signed = wanted.signed_by(&key, &self.issuer);
        let signed = signed.with_context(|| format!("certifying {}", subject.file))?;
        let files = Certificate {
            certificate: self.directory.join(format!("{}.crt", subject.file)),
            key: self.directory.join(format!("{}.key", subject.file)),
        };
        replace(&files.certificate, &signed.pem())?;
        replace(&files.key, &key.serialize_pem())?;
        Ok(files)
    }
}

/// A certificate that says this.
fn wanted(subject: &Subject<'_>) -> Result<CertificateParams> {
    let mut wanted = certificate(subject.lasts)?;
    wanted
        .distinguished_name
        .push(DnType::CommonName, subject.file);
    let mut names = Vec::new();
    if let Some(host) = subject.host {
        names.push(SanType::DnsName(host.try_into()?));
    }
    if let Some(uri) = subject.uri {
        names.push(SanType::URI(uri.try_into()?));
    }
    names.extend(subject.addresses.iter().copied().map(SanType::IpAddress));
    wanted.subject_alt_names = names;
    Ok(wanted)
}

/// One that has counted for an hour already.
fn certificate(lasts: Duration) -> Result<CertificateParams> {
    #[expect(
        clippy::disallowed_methods,
        reason = "programs judge certificates by the machine's clock"
    )]
    let now = SystemTime::now();
    let now = now
        .duration_since(UNIX_EPOCH)
        .context("a clock before 1970")?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut certificate = CertificateParams::default();
    certificate.not_before = epoch + now.saturating_sub(Duration::from_hours(1));
    certificate.not_after = epoch + now + lasts;
    Ok(certificate)
}

fn replace(file: &Path, text: &str) -> Result<()> {
    let beside = file.with_extension("new");
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, file))
        .with_context(|| format!("writing {}", file.display()))
}
